"""Documents to tokens: vocabulary training, encoding, decoding, and token shards."""
