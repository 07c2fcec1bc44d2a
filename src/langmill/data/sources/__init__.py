"""Where raw data comes from: pinned packages, Python's standard library, local files, and what plug-ins bring."""
