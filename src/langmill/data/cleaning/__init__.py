"""From raw rows to clean documents: steps, one a file, each a pure function of one document, and who runs them."""
