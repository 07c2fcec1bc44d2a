"""Which n-grams stand in many documents: those of licences, templates and turns of phrase."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from langmill.data.ahead import computed_ahead
from langmill.data.near_duplicates.words import Hashes, Offsets, Words, distinct, distinct_counts, ngrams_of_each

_LEAST_CELLS, _MOST_CELLS = 2**16, 2**27
_FULL = 255


class DocumentFrequencies:
    """In how many documents of the corpus each n-gram stands, counted in a table of bounded size.

    N-grams that share a cell are counted together, so that a count may be too high and is never too low: with 128 MB
    for 10 GB of text one n-gram in fifty passes for one that stands in more than twenty documents, and none for 1 GB.

    Args:
        words: Words of the corpus; the table has a byte for each, up to 128 MB.
        size: Words of an n-gram.
    """

    def __init__(self, words: int, size: int) -> None:
        cells = min(max(_LEAST_CELLS, 1 << max(1, words).bit_length()), _MOST_CELLS)
        self._mask = np.uint64(cells - 1)
        self._counts = np.zeros(cells, np.uint8)
        self._size = size

    def count(self, batches: Iterable[tuple[Words, Offsets]], threads: int = 1) -> None:
        """Count batches of at most 1,000 documents: their words, and where those of each document end."""
        for cells, counts in computed_ahead(self._in_batch, batches, threads):
            self._counts[cells] = np.minimum(self._counts[cells] + counts, _FULL)

    def _in_batch(self, batch: tuple[Words, Offsets]) -> tuple[Hashes, npt.NDArray[np.int64]]:
        """The cells of a batch's n-grams, and in how many of its documents."""
        grams, texts = ngrams_of_each(*batch, self._size)
        # Each n-gram once a document: the document's number in the upper bits, sorted together.
        once = distinct((grams & np.uint64(2**54 - 1)) | (texts.astype(np.uint64) << np.uint64(54)))
        return distinct_counts(once & self._mask)

    def are_common(self, grams: Hashes, most: int) -> npt.NDArray[np.bool_]:
        """Whether each n-gram stands in more than `most` documents."""
        return np.asarray(self._counts[grams & self._mask] > most, np.bool_)
