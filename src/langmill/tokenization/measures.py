"""What a vocabulary makes of texts: how short, how fast, and what it loses."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from langmill.files import read_json
from langmill.tokenization.tokenizer import Tokenizer

_REPEATS = 3  # of the encoding, of which the fastest counts


@dataclass(frozen=True)
class Measures:
    """Numbers of one vocabulary on some texts."""

    num_bytes: int
    """UTF-8, of the texts as they are."""
    num_tokens: int
    bytes_per_token: float
    tokens_per_word: float | None
    """Fertility: tokens of a run between white space; None for texts without one."""
    unknown_rate: float
    """Share of the tokens that stand for what the vocabulary lacks."""
    lost_rate: float
    """Share of the texts that decoding does not give back."""
    used_share: float
    """Share of the vocabulary's entries that occur, special tokens left out."""
    megabytes_per_second: float
    """Encoding on one thread, by processor time: the fastest of three."""


def measure(tokenizer: Tokenizer, texts: Sequence[str]) -> Measures:
    """Encode texts and decode them again."""
    encoded: list[np.ndarray] = []
    seconds = []
    for _ in range(_REPEATS):
        began = time.process_time()
        encoded = tokenizer.encode_batch(texts, 1)
        seconds.append(time.process_time() - began)
    num_bytes = sum(len(text.encode()) for text in texts)
    tokens = np.concatenate([*encoded, np.zeros(0, dtype=tokenizer.dtype)])
    words = sum(len(text.split()) for text in texts)
    lost = sum(tokenizer.decode(ids.tolist()) != text for ids, text in zip(encoded, texts, strict=True))
    unknown = tokenizer.special_ids.get(read_json(tokenizer.file)["model"].get("unk_token") or "", -1)
    ordinary = tokenizer.vocab_size - len(tokenizer.special_ids)
    used = len(set(np.unique(tokens).tolist()) - set(tokenizer.special_ids.values()))
    return Measures(
        num_bytes=num_bytes,
        num_tokens=len(tokens),
        bytes_per_token=num_bytes / max(1, len(tokens)),
        tokens_per_word=len(tokens) / words if words else None,
        unknown_rate=float(np.count_nonzero(tokens == unknown)) / max(1, len(tokens)),
        lost_rate=lost / max(1, len(texts)),
        used_share=used / max(1, ordinary),
        megabytes_per_second=num_bytes / 1e6 / max(min(seconds), 1e-9),
    )
