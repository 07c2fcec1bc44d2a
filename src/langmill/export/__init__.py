"""One file a format: a registered version in the form that other programs open."""
