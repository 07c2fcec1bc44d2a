"""Writing text one token after the other, with a cache of what was read.

What a network must offer for it is `network.Decodes`: a causal language model goes on from a prompt, an encoder-decoder
writes from a source text; to this package both are sequences that grow.
"""
