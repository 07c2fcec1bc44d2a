"""One short file a DVC stage: load its section, call one layer, write."""
