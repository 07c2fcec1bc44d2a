"""How a vocabulary is learned: one file an algorithm."""
