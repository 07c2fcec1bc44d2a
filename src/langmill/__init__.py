"""Langmill turns raw text into a served language model, and can say how every one came to be."""

__version__ = "0.1.0"
