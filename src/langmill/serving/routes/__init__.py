"""One file a route: what the server can be asked, and how it answers."""
