"""Settings: typed sections, composed from `conf/` and refused when wrong."""
