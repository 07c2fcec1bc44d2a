"""Leakage: which test documents stand in the training documents, wholly or in part, by n-grams of words.

As for GPT-3 (Brown et al., 2020, appendix C): an n-gram that stands in more than ten training documents is a turn of
phrase or a form, and leaks nothing.

The training documents are read once, however many test documents there are: n-grams of these that may be the same go to
files, parted by their hashes, and what is in one part is compared at a time. In memory are at most 64 MB of a filter, a
part of some 100 MB, 12 bytes a document, and the pairs of documents that share an n-gram.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from langmill.config import sections
from langmill.data.ahead import computed_ahead
from langmill.data.document import Split
from langmill.data.duplicates import Fate, Numbers, Verdicts
from langmill.data.near_duplicates.words import Hashes, distinct, distinct_counts, ngrams_of_each
from langmill.data.spool import PRECEDENCE, Spool

_MOST_DOCUMENTS = 10
_TEST_NGRAMS = 2**20
"""N-grams of test documents that are compared at a time, at most twice as many."""
_MOST_PARTS_BITS = 8  # two files a part are open
_FILTER_BITS = 2**29
_CHUNK_WORDS = 2**18
_HALF, _LOW = np.uint64(32), np.uint64(2**32 - 1)


@dataclass(frozen=True, slots=True)
class Leak:
    """What of a test document stands in training documents."""

    overlap: float
    """Share of its n-grams."""
    train: int
    """The training document that has the most of them; the first of several."""


def find_leakage(
    spool: Spool,
    verdicts: Verdicts,
    leakage: sections.Leakage,
    on_documents: Callable[[int], object] = lambda _: None,
    threads: int = 1,
) -> dict[int, Leak]:
    """The test documents that have leaked.

    Texts and targets count. A document of fewer words than `leakage.ngrams` is looked for by `short_ngrams`.

    Args:
        spool: The documents.
        verdicts: Which are kept, and in which split.
        leakage: The length of n-grams and the share.
        on_documents: Called with the number of training documents read since the last call.
        threads: How many read side by side.

    Returns:
        The leak of each document that has leaked, by its number in the spool.
    """
    leaks: dict[int, Leak] = {}
    for size, chosen in _looked_for(spool, verdicts, leakage):
        leaks |= _leaks(
            spool, verdicts, chosen, size=size, share=leakage.share, on_documents=on_documents, threads=threads
        )
    return leaks


def num_passes(spool: Spool, verdicts: Verdicts, leakage: sections.Leakage) -> int:
    """How often `find_leakage` reads the training documents."""
    return len(_looked_for(spool, verdicts, leakage))


def _looked_for(spool: Spool, verdicts: Verdicts, leakage: sections.Leakage) -> list[tuple[int, npt.NDArray[np.bool_]]]:
    """The lengths of n-grams, and the test documents that are looked for by each; none without a document."""
    test = (verdicts.fates == Fate.kept) & (verdicts.ranks == PRECEDENCE.index(Split.test))
    # No n-gram begins in the text and ends in the target.
    longest = np.maximum(np.diff(spool.offsets[0]), np.diff(spool.offsets[1]))
    long = longest >= leakage.ngrams
    short = ~long & (longest >= leakage.short_ngrams)
    sizes = ((leakage.ngrams, test & long), (leakage.short_ngrams, test & short))
    return [(size, chosen) for size, chosen in sizes if chosen.any()]


class _Parts:
    """N-grams and the document that each is of, in files by the upper bits of their hashes."""

    def __init__(self, stack: ExitStack, folder: Path, bits: int) -> None:
        self._shift = np.uint64(64 - bits)
        self._files = [stack.enter_context(tempfile.TemporaryFile(dir=folder)) for _ in range(1 << bits)]  # noqa: SIM115

    def add(self, grams: Hashes, documents: Numbers) -> None:
        parts = (grams >> self._shift).astype(np.uint8)
        order = np.argsort(parts, kind="stable")
        rows = np.stack([grams, documents.astype(np.uint64)], 1)[order]
        bounds = np.searchsorted(parts[order], np.arange(len(self._files) + 1)).tolist()
        for file, first, last in zip(self._files, bounds, bounds[1:], strict=False):
            file.write(rows[first:last].data)

    def __iter__(self) -> Iterator[tuple[Hashes, Hashes]]:
        for file in self._files:
            file.seek(0)
            rows = np.fromfile(file, np.uint64).reshape(-1, 2)
            yield rows[:, 0].copy(), rows[:, 1].copy()


class _Filter:
    """A set of n-grams, with some more that were never put in: one in sixteen or fewer up to 30 million."""

    def __init__(self, count: int) -> None:
        bits = min(max(8, 1 << (16 * count).bit_length()), _FILTER_BITS)
        self._bytes = np.zeros(bits // 8, np.uint8)
        self._mask = np.uint64(bits - 1)

    def _places(self, grams: Hashes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
        places = grams & self._mask
        return (places >> np.uint64(3)).astype(np.int64), np.uint8(1) << (places & np.uint64(7)).astype(np.uint8)

    def add(self, grams: Hashes) -> None:
        places, bits = self._places(grams)
        np.bitwise_or.at(self._bytes, places, bits)

    def may_have(self, grams: Hashes) -> npt.NDArray[np.bool_]:
        places, bits = self._places(grams)
        return np.asarray(self._bytes[places] & bits, np.bool_)


def _leaks(
    spool: Spool,
    verdicts: Verdicts,
    test: npt.NDArray[np.bool_],
    *,
    size: int,
    share: float,
    on_documents: Callable[[int], object],
    threads: int,
) -> dict[int, Leak]:
    train = (verdicts.fates == Fate.kept) & (verdicts.ranks == PRECEDENCE.index(Split.train))
    texts, targets = (np.maximum(0, np.diff(offsets) - size + 1) for offsets in spool.offsets)
    totals = (texts + targets) * test
    count = int(totals.sum())
    leaked = np.zeros(len(spool), np.int32)
    names, counts = np.empty(0, np.uint64), np.empty(0, np.int64)
    with ExitStack() as stack:
        bits = min(max(1, (count // _TEST_NGRAMS).bit_length()), _MOST_PARTS_BITS)
        wanted, found = (_Parts(stack, spool.folder, bits) for _ in range(2))
        likely = _Filter(count)
        for chunk in spool.chunks(_CHUNK_WORDS):
            grams, owners = _ngrams(spool, test, size, chunk)
            wanted.add(grams, owners)
            likely.add(grams)

        def likely_ones(chunk: tuple[int, int]) -> tuple[Hashes, Numbers, int]:
            grams, owners = _ngrams(spool, train, size, chunk)
            maybe = likely.may_have(grams)
            return grams[maybe], owners[maybe], chunk[1] - chunk[0]

        for grams, owners, num_read in computed_ahead(likely_ones, spool.chunks(_CHUNK_WORDS), threads):
            found.add(grams, owners)
            on_documents(num_read)
        for of_test, of_train in zip(wanted, found, strict=True):
            owners, more = _sources(*of_test, *of_train)
            np.add.at(leaked, owners, 1)
            names, counts = _added(names, counts, *distinct_counts(more))
    documents, sources = (names >> _HALF).astype(np.int64), (names & _LOW).astype(np.int64)
    overlaps = leaked[documents] / totals[documents]
    order = np.lexsort((sources, -counts, documents))
    order = order[overlaps[order] > share]
    firsts = order[np.flatnonzero(np.diff(documents[order], prepend=-1))]
    return {int(documents[at]): Leak(float(overlaps[at]), int(sources[at])) for at in firsts}


def _sources(grams: Hashes, owners: Hashes, found: Hashes, documents: Hashes) -> tuple[Numbers, Hashes]:
    """Compare n-grams of test documents with those of training documents.

    Returns:
        The test document of each n-gram that has leaked, and with each training document that has it, as one number:
        the test document in the upper half.
    """
    wanted = distinct(grams)
    if not len(wanted) or not len(found):
        return np.empty(0, np.int64), np.empty(0, np.uint64)
    places = np.minimum(wanted.searchsorted(found), len(wanted) - 1)
    hit = wanted[places] == found
    pairs = distinct((places[hit].astype(np.uint64) << _HALF) | documents[hit])
    of_gram = (pairs >> _HALF).astype(np.int64)
    few = np.bincount(of_gram, minlength=len(wanted)) <= _MOST_DOCUMENTS
    pairs, of_gram = pairs[few[of_gram]], of_gram[few[of_gram]]
    own = wanted.searchsorted(grams)
    begins, ends = of_gram.searchsorted(own, "left"), of_gram.searchsorted(own, "right")
    leaked = ends > begins
    lengths = (ends - begins)[leaked]
    rows = np.repeat(begins[leaked] - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
    both = (np.repeat(owners[leaked], lengths) << _HALF) | (pairs[rows] & _LOW)
    return owners[leaked].astype(np.int64), both


def _added(names: Hashes, counts: Numbers, others: Hashes, more: Numbers) -> tuple[Hashes, Numbers]:
    """The sum of two countings."""
    every, number = np.concatenate([names, others]), np.concatenate([counts, more])
    order = np.argsort(every, kind="stable")
    every, number = every[order], number[order]
    starts = np.flatnonzero(np.diff(every, prepend=every[:1] + np.uint64(1)))
    return every[starts], np.add.reduceat(number, starts) if len(starts) else number


def _ngrams(spool: Spool, chosen: npt.NDArray[np.bool_], size: int, chunk: tuple[int, int]) -> tuple[Hashes, Numbers]:
    """The n-grams of the chosen documents' texts and targets, and the number of the document each is of.

    `chunk` is the first document that is looked at and, not included, the last.
    """
    first, last = chunk
    mine = chosen[first:last]
    numbers = np.flatnonzero(mine)
    if not len(numbers):
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    found = []
    for part, words in enumerate((spool.text_words(first, last), spool.target_words(first, last))):
        lengths = np.diff(spool.offsets[part][first : last + 1])
        found.append(ngrams_of_each(words[np.repeat(mine, lengths)], np.cumsum(lengths[mine]), size))
    hashes, documents = (np.concatenate(both) for both in zip(*found, strict=True))
    return hashes, first + numbers[documents]
