"""Models that somebody else has trained: where they come from, and what becomes of their files."""
