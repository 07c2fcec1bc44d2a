"""Judging: what a model is worth, in metrics of its per-example scores beside those of simpler ways."""
