"""Parts that architectures are put together from; nothing in here is an architecture by itself."""
