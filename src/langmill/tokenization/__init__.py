"""Documents to tokens: learning a vocabulary, encoding, decoding, and token shards."""
