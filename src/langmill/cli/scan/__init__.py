"""`langmill scan`: personal data and secrets in raw files, reported and not changed."""
