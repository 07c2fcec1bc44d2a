"""What is remembered of a batch of documents to compare them by: their words, and the bands of their signatures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from langmill.config import sections
from langmill.data.near_duplicates import minhash
from langmill.data.near_duplicates.words import Hashes, Offsets, Words, words_of


class Fingerprints(NamedTuple):
    """What several documents are compared by."""

    text_words: Words
    """The words of all texts, one text after the other."""
    text_ends: Offsets
    """Where the words of each text end: (documents,)."""
    target_words: Words
    target_ends: Offsets
    bands: Hashes | None
    """The bands of each text's signature, (documents, minhash.BANDS); None where near duplicates are not looked for."""


def fingerprints(texts: Sequence[str], targets: Sequence[str | None], cleaning: sections.Cleaning) -> Fingerprints:
    """What documents are compared by.

    Args:
        texts: Their texts; an empty one stands for a document that is left out anyway.
        targets: Their targets.
        cleaning: The settings.
    """
    near = cleaning.near_duplicates
    if near is None and cleaning.leakage is None:
        none, ends = np.empty(0, np.uint32), np.zeros(len(texts), np.int64)
        return Fingerprints(none, ends, none, ends, None)
    text_words, text_ends = words_of(texts, cleaning.fold)
    target_words, target_ends = words_of([target or "" for target in targets], cleaning.fold)
    bands = None if near is None else minhash.bands(text_words, text_ends, near.ngrams, near.min_words)
    return Fingerprints(text_words, text_ends, target_words, target_ends, bands)
