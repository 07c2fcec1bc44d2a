"""MinHash signatures in bands: which pairs of documents are worth comparing.

A signature has `BANDS` times `ROWS` numbers; in each, two documents agree by a chance that is the Jaccard similarity of
their sets of n-grams (Broder, 1997, "On the resemblance and containment of documents"). Two documents are proposed
where they agree in all rows of at least one band (`chance_to_be_proposed`).

datatrove and FineWeb take the same 112 numbers as 14 bands of 8, whose curve rises at a similarity of 0.75. What
decides here is containment, and half of a document, which is contained in it whole, has a similarity of 0.5: 28 bands
of 4 rows propose such a pair at 0.84 (14 of 8: 0.05), and one of 0.02, as unrelated texts have, at 0.000004.
"""

from __future__ import annotations

import numpy as np

from langmill.data.near_duplicates.words import Hashes, Offsets, Words, constants, mixed, ngrams_of_each

BANDS, ROWS = 28, 4
NONE = np.uint64(0)
"""In the place of every band of a text that is not compared."""
_MULTIPLIERS = (constants(3, BANDS * ROWS) >> np.uint64(32)).astype(np.uint32) | np.uint32(1)
_ADDENDS = (constants(4, BANDS * ROWS) >> np.uint64(32)).astype(np.uint32)
_BAND_FACTORS = constants(5, ROWS)


def chance_to_be_proposed(similarity: float, bands: int = BANDS, rows: int = ROWS) -> float:
    """The share of pairs of a Jaccard similarity that agree in at least one band (Leskovec et al., 2014, 3.4.2)."""
    return float(1 - (1 - similarity**rows) ** bands)


def signatures(
    words: Words, ends: Offsets, size: int, min_words: int
) -> np.ndarray[tuple[int, int], np.dtype[np.uint32]]:
    """The MinHash signatures of several texts.

    Args:
        words: Their words: (words,).
        ends: Where the words of each text end: (texts,).
        size: Words of an n-gram.
        min_words: Words from which on a text has a signature, `size` at least.

    Returns:
        The least value of each hash function over the n-grams of each text: (texts, `BANDS` * `ROWS`), the largest
        number throughout for a text that is too short.
    """
    result = np.full((len(ends), BANDS * ROWS), np.iinfo(np.uint32).max, np.uint32)
    grams, texts = ngrams_of_each(words, ends, size)
    long = np.diff(ends, prepend=0) >= min_words
    keep = long[texts]
    if not keep.any():
        return result
    values, texts = (grams[keep] >> np.uint64(32)).astype(np.uint32), texts[keep]
    starts = np.flatnonzero(np.diff(texts, prepend=-1))
    hashed = np.empty_like(values)
    for place, (factor, addend) in enumerate(zip(_MULTIPLIERS, _ADDENDS, strict=True)):
        np.multiply(values, factor, out=hashed)
        hashed += addend
        result[texts[starts], place] = np.minimum.reduceat(hashed, starts)
    return result


def bands(words: Words, ends: Offsets, size: int, min_words: int) -> Hashes:
    """One number a band and text: (texts, `BANDS`); texts are proposed as a pair where they have one in common.

    The arguments are those of `signatures`; a text that is too short has `NONE`.
    """
    rows = signatures(words, ends, size, min_words).reshape(len(ends), BANDS, ROWS).astype(np.uint64)
    found = mixed((rows * _BAND_FACTORS).sum(axis=2, dtype=np.uint64))
    found[found == NONE] = 1
    found[np.diff(ends, prepend=0) < min_words] = NONE
    return found
