"""One file a format: how raw files of a special shape become rows."""
