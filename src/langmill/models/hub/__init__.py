"""Code that travels in a model folder, for `transformers` to run if it is told to trust it."""
