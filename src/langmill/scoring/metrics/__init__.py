"""Metrics of a written text against the text that was wanted: a file a metric or a family of them."""
