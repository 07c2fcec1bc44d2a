"""Documents that say nearly the same: proposed by MinHash, decided by the n-grams of words that they share."""
