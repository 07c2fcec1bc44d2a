"""Whether two documents say nearly the same, by the n-grams of words that they share, exactly."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from langmill.config.sections import NearDuplicates
from langmill.data.near_duplicates.common import DocumentFrequencies
from langmill.data.near_duplicates.words import Hashes, Words, distinct, ngrams_of_each

_OWN = 5
"""N-grams of its own from which on a document is compared by these too."""
_OWN_SHARED = 0.5
"""Share of them that the other must have."""
_CACHED_NGRAMS = 2**22
_GRAM_SIZE, _GRAM_BITS = np.uint64(54), np.uint64(2**54 - 1)


@dataclass(frozen=True, slots=True)
class Likeness:
    """How alike two documents are."""

    similarity: float
    """The n-grams that both have over those that either has (Jaccard)."""
    containment: float
    """The n-grams that both have over those of the document that has fewer."""
    alike: bool
    """Whether they are near duplicates."""


@dataclass(frozen=True, slots=True)
class _Grams:
    all: Hashes
    """Sorted, each once."""
    own: Hashes
    """Those that share no word with a common n-gram."""


class Judge:
    """Compares documents.

    Two documents are near duplicates where the shorter one's n-grams stand in the longer one by `threshold`. N-grams
    that stand in many documents can carry that alone: a licence above two short programs, a form letter. So, where both
    documents have something of their own beside them, that must be alike too. A document's own n-grams are those that
    share no word with a common one: what changed a single word of a text that was copied many times makes none, and
    documents that have fewer than five are judged by all that they have.

    Args:
        settings: The thresholds.
        frequencies: In how many documents each n-gram stands.
        words: The words of a document, by its number.
    """

    def __init__(
        self, settings: NearDuplicates, frequencies: DocumentFrequencies, words: Callable[[int], Words]
    ) -> None:
        self._settings = settings
        self._frequencies = frequencies
        self._words = words
        self._near: dict[int, _Grams] = {}
        self._cached: OrderedDict[int, _Grams] = OrderedDict()
        self._size = 0

    def prepare(self, numbers: npt.NDArray[np.int64]) -> None:
        """Read documents that are to be compared next, all at once; those of the last call are forgotten, mostly.

        Args:
            numbers: At most 1,000 of them.
        """
        self._near = dict(
            zip(numbers.tolist(), self._made([self._words(int(number)) for number in numbers]), strict=True)
        )

    def compare(self, one: int, other: int) -> Likeness:
        """How alike two documents are, by their numbers."""
        first, second = self._grams(one), self._grams(other)
        shared = num_shared(first.all, second.all)
        fewer = min(len(first.all), len(second.all))
        containment = shared / fewer if fewer else 0.0
        similarity = shared / max(1, len(first.all) + len(second.all) - shared)
        alike = containment >= self._settings.threshold
        own = min(len(first.own), len(second.own))
        if alike and own >= _OWN:
            alike = num_shared(first.own, second.own) >= _OWN_SHARED * own
        return Likeness(similarity, containment, alike)

    def keep(self, number: int) -> None:
        """Hold on to a document that others will be compared with."""
        near = self._near.get(number)
        if near is not None and number not in self._cached:
            self._hold(number, _Grams(near.all.copy(), near.own.copy()))

    def _grams(self, number: int) -> _Grams:
        grams = self._near.get(number)
        if grams is not None:
            return grams
        grams = self._cached.get(number)
        if grams is None:
            [grams] = self._made([self._words(number)])
            self._hold(number, grams)
        else:
            self._cached.move_to_end(number)
        return grams

    def _hold(self, number: int, grams: _Grams) -> None:
        self._cached[number] = grams
        self._size += len(grams.all)
        while self._size > _CACHED_NGRAMS and len(self._cached) > 2:
            self._size -= len(self._cached.popitem(last=False)[1].all)

    def _made(self, texts: Sequence[Words]) -> Iterator[_Grams]:
        """The n-grams of texts, without the upper bits of their hashes, in which is which text each is of."""
        size = self._settings.ngrams
        ends = np.cumsum([len(words) for words in texts])
        grams, owners = ngrams_of_each(np.concatenate(texts), ends, size)
        common = self._frequencies.are_common(grams, self._settings.common)
        # An n-gram shares a word with those that begin up to size - 1 words before or behind it, in the same text.
        padded = np.zeros(len(grams) + (len(texts) + 1) * size, bool)
        places = np.arange(len(grams)) + (owners + 1) * size
        padded[places] = common
        sums = np.cumsum(padded, dtype=np.int64)
        own = sums[places + size - 1] == sums[places - size]
        marked = (grams & _GRAM_BITS) | (owners.astype(np.uint64) << _GRAM_SIZE)
        every, mine = distinct(marked), distinct(marked[own])
        bounds = np.arange(1, len(texts) + 1, dtype=np.uint64) << _GRAM_SIZE
        for all_of_one, own_of_one in zip(
            np.split(every & _GRAM_BITS, every.searchsorted(bounds)[:-1]),
            np.split(mine & _GRAM_BITS, mine.searchsorted(bounds)[:-1]),
            strict=True,
        ):
            yield _Grams(all_of_one, own_of_one)


def num_shared(one: Hashes, other: Hashes) -> int:
    """How many numbers two sorted arrays without repetitions have in common."""
    if len(one) > len(other):
        one, other = other, one
    if not len(one):
        return 0
    return int(np.count_nonzero(other.take(other.searchsorted(one), mode="clip") == one))
