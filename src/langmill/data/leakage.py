"""Leakage: which test documents stand in the training documents, wholly or in part, by n-grams of words.

As for GPT-3 (Brown et al., 2020, appendix C): an n-gram that stands in more than ten training documents is a turn of
phrase or a form, and leaks nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from langmill.config import sections
from langmill.data.document import Split
from langmill.data.duplicates import Fate, Numbers, Verdicts
from langmill.data.near_duplicates.words import Hashes, distinct, ngrams_of_each
from langmill.data.spool import PRECEDENCE, Spool

_MOST_DOCUMENTS = 10
_TEST_NGRAMS = 2**23
"""N-grams of test documents that are looked for in one go through the training documents: 64 MB and some as much."""
_CHUNK_WORDS = 2**18
_FILTER_CELLS = 2**26


@dataclass(frozen=True, slots=True)
class Leak:
    """What of a test document stands in training documents."""

    overlap: float
    """Share of its n-grams."""
    train: int
    """The training document that has the most of them; the first of several."""


def find_leakage(
    spool: Spool, verdicts: Verdicts, leakage: sections.Leakage, on_documents: Callable[[int], object] = lambda _: None
) -> dict[int, Leak]:
    """The test documents that have leaked.

    Texts and targets count. A document of fewer words than `leakage.ngrams` is looked for by `short_ngrams`.

    Args:
        spool: The documents.
        verdicts: Which are kept, and in which split.
        leakage: The length of n-grams and the share.
        on_documents: Called with the number of training documents read since the last call.

    Returns:
        The leak of each document that has leaked, by its number in the spool.
    """
    kept = verdicts.fates == Fate.kept
    test = kept & (verdicts.ranks == PRECEDENCE.index(Split.test))
    train = kept & (verdicts.ranks == PRECEDENCE.index(Split.train))
    text, target = np.diff(spool.offsets[0]), np.diff(spool.offsets[1])
    lengths, longest = text + target, np.maximum(text, target)  # no n-gram begins in the one and ends in the other
    leaks: dict[int, Leak] = {}
    long = longest >= leakage.ngrams
    for size, chosen in ((leakage.ngrams, test & long), (leakage.short_ngrams, test & ~long)):
        for part in _parts(chosen & (longest >= size), lengths):
            leaks |= _leaks(spool, part, train, size=size, share=leakage.share, on_documents=on_documents)
    return leaks


def num_passes(spool: Spool, verdicts: Verdicts) -> int:
    """About how often the training documents are read."""
    test = (verdicts.fates == Fate.kept) & (verdicts.ranks == PRECEDENCE.index(Split.test))
    return 1 + int((np.diff(spool.offsets[0]) + np.diff(spool.offsets[1]))[test].sum()) // _TEST_NGRAMS


def _parts(chosen: npt.NDArray[np.bool_], lengths: Numbers) -> Iterator[npt.NDArray[np.bool_]]:
    """Test documents by parts, the n-grams of which fit into memory."""
    numbers = np.flatnonzero(chosen)
    parts = np.cumsum(lengths[numbers]) // _TEST_NGRAMS
    for part in np.unique(parts):
        mask = np.zeros(len(chosen), bool)
        mask[numbers[parts == part]] = True
        yield mask


def _leaks(
    spool: Spool,
    test: npt.NDArray[np.bool_],
    train: npt.NDArray[np.bool_],
    *,
    size: int,
    share: float,
    on_documents: Callable[[int], object],
) -> dict[int, Leak]:
    grams, owners = _concatenated(_ngrams(spool, test, size))
    wanted = distinct(grams)
    if not len(wanted):
        return {}
    cells = min(1 << (16 * len(wanted)).bit_length(), _FILTER_CELLS)
    mask = np.uint64(cells - 1)
    likely = np.zeros(cells, bool)  # most n-grams of the training documents are through here
    likely[wanted & mask] = True
    found: list[npt.NDArray[np.int64]] = []  # rows of an n-gram's place in `wanted` and a training document
    remembered, limit = 0, 2 * _TEST_NGRAMS
    for every, owner in _ngrams(spool, train, size, on_documents):
        maybe = likely[every & mask]
        hashes, documents = every[maybe], owner[maybe]
        places = np.searchsorted(wanted, hashes)
        places[places == len(wanted)] = 0
        hit = wanted[places] == hashes
        found.append(np.unique(np.stack([places[hit], documents[hit]], 1), axis=0))
        remembered += len(found[-1])
        if remembered > limit:
            found = [_capped(np.concatenate(found))]
            remembered = len(found[0])
            limit = remembered + 2 * _TEST_NGRAMS
    pairs = np.concatenate([*found, np.empty((0, 2), np.int64)])
    counts = np.bincount(pairs[:, 0], minlength=len(wanted))
    pairs = pairs[counts[pairs[:, 0]] <= _MOST_DOCUMENTS]
    return _by_document(grams, owners, wanted, pairs, share)


def _capped(pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The same without what is over one more than `_MOST_DOCUMENTS` of an n-gram."""
    order = np.argsort(pairs[:, 0], kind="stable")
    ordered = pairs[order]
    _, firsts, numbers = np.unique(ordered[:, 0], return_index=True, return_inverse=True)
    return ordered[np.arange(len(ordered)) - firsts[numbers] <= _MOST_DOCUMENTS]


def _by_document(
    grams: Hashes, owners: Numbers, wanted: Hashes, pairs: npt.NDArray[np.int64], share: float
) -> dict[int, Leak]:
    """The leaks of the test documents that have the n-grams `wanted`, from those n-grams' training documents."""
    order = np.argsort(pairs[:, 0], kind="stable")
    places, documents = pairs[order, 0], pairs[order, 1]
    own = np.searchsorted(wanted, grams)
    begins, ends = np.searchsorted(places, own, "left"), np.searchsorted(places, own, "right")
    leaks: dict[int, Leak] = {}
    bounds = np.flatnonzero(np.diff(owners, prepend=-1, append=-1))
    for first, last in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        leaked = np.flatnonzero(ends[first:last] > begins[first:last]) + first
        overlap = len(leaked) / (last - first)
        if overlap > share:
            sources = np.concatenate([documents[begins[at] : ends[at]] for at in leaked.tolist()])
            names, counts = np.unique(sources, return_counts=True)
            leaks[int(owners[first])] = Leak(overlap, int(names[np.argmax(counts)]))
    return leaks


def _ngrams(
    spool: Spool,
    chosen: npt.NDArray[np.bool_],
    size: int,
    on_documents: Callable[[int], object] = lambda _: None,
) -> Iterator[tuple[Hashes, Numbers]]:
    """The n-grams of some documents' texts and targets, and the number of the document each is of."""
    for first, last in spool.chunks(_CHUNK_WORDS):
        numbers = np.flatnonzero(chosen[first:last])
        if len(numbers):
            for part, words in enumerate((spool.text_words(first, last), spool.target_words(first, last))):
                lengths = np.diff(spool.offsets[part][first : last + 1])
                mine = words[np.repeat(chosen[first:last], lengths)]
                hashes, documents = ngrams_of_each(mine, np.cumsum(lengths[numbers]), size)
                yield hashes, first + numbers[documents]
        on_documents(last - first)


def _concatenated(parts: Iterator[tuple[Hashes, Numbers]]) -> tuple[Hashes, Numbers]:
    """The n-grams of all parts, by document."""
    found = list(parts)
    hashes = np.concatenate([*(one for one, _ in found), np.empty(0, np.uint64)])
    numbers = np.concatenate([*(other for _, other in found), np.empty(0, np.int64)])
    order = np.argsort(numbers, kind="stable")
    return hashes[order], numbers[order]
