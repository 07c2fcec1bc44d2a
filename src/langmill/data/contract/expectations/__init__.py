"""One file an expectation: what may be asked of a corpus."""
