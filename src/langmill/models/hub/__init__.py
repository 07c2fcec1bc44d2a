"""Code that is copied into model folders, for `transformers` with trust_remote_code."""
