"""Metrics of the probability that a model gives to the right tokens: bits per byte, perplexity, next-token accuracy.

Bits per byte is the loss in bits over the UTF-8 bytes of the *scored* tokens, so that models with other tokenizers
compare, and it does not pay to read less of a text.
"""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa

_COLUMNS = ("nats", "tokens", "bytes", "correct")


def token_metrics(scores: pa.Table, weights_RN: np.ndarray) -> dict[str, np.ndarray]:
    """`bits_per_byte`, `perplexity` and `next_token_accuracy`, each `(resamples,)`: ratios of weighted sums.

    The columns `nats`, `tokens`, `bytes` and `correct` are of what was scored of each document.
    """
    sums = weights_RN @ np.stack([scores[name].to_numpy().astype(np.float64) for name in _COLUMNS], axis=1)
    nats, tokens, num_bytes, correct = sums.T
    return {
        "bits_per_byte": nats / (math.log(2) * num_bytes),
        "perplexity": np.exp(nats / tokens),
        "next_token_accuracy": correct / tokens,
    }


def document_bits_per_byte(scores: pa.Table) -> np.ndarray:
    """Bits per byte of each document by itself, `(N,)`."""
    return np.asarray(scores["nats"].to_numpy() / (math.log(2) * scores["bytes"].to_numpy()))
