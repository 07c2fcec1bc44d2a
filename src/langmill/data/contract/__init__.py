"""A corpus's contract: what its documents must look like, asked after cleaning and before training."""
