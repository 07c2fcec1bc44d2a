"""`langmill show`: documents of a corpus, what was dropped, and what each step of cleaning does to them."""
