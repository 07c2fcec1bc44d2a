"""Generation: sampling, greedy decoding and beam search, token by token with a cache.

A network must implement `network.Decodes`: a causal language model continues a prompt, an encoder-decoder generates a
target for a source text.
"""
