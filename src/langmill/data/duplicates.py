"""Which of the documents that read alike is kept: the same one in whatever order they come."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from langmill.config import sections
from langmill.data.cleaning.apply import DropReason
from langmill.data.document import document_id
from langmill.data.report import Report
from langmill.data.spool import PRECEDENCE, Keys, Spool
from langmill.errors import DataError

Numbers = npt.NDArray[np.int64]
"""Documents, by their place in the spool."""


class Fate(IntEnum):
    """What becomes of a document for the sake of others."""

    kept = 0
    duplicate = 1
    near_duplicate = 2
    cross_split = 3

    @property
    def reason(self) -> DropReason:
        """The reason in the report."""
        return DropReason(self.name)


@dataclass(slots=True)
class Verdicts:
    """What becomes of each document; every array is (documents,)."""

    fates: npt.NDArray[np.uint8]
    """A `Fate`."""
    twins: Numbers
    """The document that it lost to; -1 for one that is kept."""
    similarity: npt.NDArray[np.float32]
    """To the twin: the share of n-grams of the two that both have; 1 for exact duplicates."""
    containment: npt.NDArray[np.float32]
    """In the twin: of the n-grams of the one that has fewer, the share that the other has too."""
    ranks: npt.NDArray[np.uint8]
    """The split, as its place in `PRECEDENCE`."""
    texts: Numbers
    """The number of the text: equal for texts that are alike, and in the order of their keys."""
    pairs: Numbers
    """The number of the text with its target: equal for exact duplicates."""

    def lose(self, losers: Numbers, fate: Fate, twins: Numbers, similarity: float = 1, containment: float = 1) -> None:
        """Leave documents out."""
        self.fates[losers], self.twins[losers] = fate, twins
        self.similarity[losers], self.containment[losers] = similarity, containment

    def settle(self) -> None:
        """Make every twin one that is kept: what lost to a document that lost itself lost to that one's twin."""
        while True:
            lost = np.flatnonzero(self.twins >= 0)
            lost = lost[self.twins[self.twins[lost]] >= 0]
            if not len(lost):
                return
            between = self.twins[lost]
            self.twins[lost] = self.twins[between]
            self.similarity[lost], self.containment[lost] = self.similarity[between], self.containment[between]


def exact_duplicates(spool: Spool, settings: sections.Cleaning, split: sections.Split, report: Report) -> Verdicts:
    """Decide which of the documents that read alike, target included, are kept.

    It is the one in the first split (`PRECEDENCE`) and with the smallest digest of its content. Equal texts with
    different targets are all kept, several answers to a question, several translations; but where `split.by` puts them
    into different splits, those in the first of these alone.

    Args:
        spool: The documents.
        settings: `drop_duplicates` says whether any is left out.
        split: How splits are made.
        report: Told how many there are.

    Raises:
        DataError: A text is in two splits, and duplicates are to be kept.
    """
    keys = spool.keys
    count = len(spool)
    by_pair = _sorted(keys, keys.pairs)
    pairs, winners = _groups(keys.pairs, by_pair)
    by_text = _sorted(keys, keys.texts)
    texts, firsts = _groups(keys.texts, by_text)
    verdicts = Verdicts(
        np.zeros(count, np.uint8),
        np.full(count, -1, np.int64),
        np.full(count, np.nan, np.float32),
        np.full(count, np.nan, np.float32),
        keys.ranks.copy(),
        texts,
        pairs,
    )
    winner = winners[pairs]
    report.duplicates = count - len(winners)
    report.other_label = int((keys.labels != keys.labels[winner]).sum())
    report.other_target = len(winners) - len(firsts)
    first = firsts[texts]
    late = keys.ranks > keys.ranks[first]
    if not settings.drop_duplicates:
        if late.any():
            raise _in_two_splits(spool, texts, split, report)
        return verdicts
    numbers = np.arange(count)
    alike = np.flatnonzero((winner != numbers) & (~late | (keys.ranks[winner] < keys.ranks)))
    verdicts.lose(alike, Fate.duplicate, winner[alike])
    crossing = np.flatnonzero(late & (keys.ranks[winner] >= keys.ranks))
    verdicts.lose(crossing, Fate.cross_split, first[crossing])
    verdicts.settle()
    return verdicts


class Ids:
    """The ids of documents that are kept.

    Args:
        spool: The documents.
        kept: Which of them are kept, by their numbers in the order in which they were read.
        unique: Whether no two of them have the same content; else they are counted, in 4 bytes a document.
    """

    def __init__(self, spool: Spool, kept: Numbers, *, unique: bool) -> None:
        self._digests = spool.keys.digests
        self._occurrences: npt.NDArray[np.int32] | None = None
        if not unique:
            digests = self._digests[kept]
            order = np.lexsort((digests[:, 1], digests[:, 0]))  # stable: equal ones stay in their order
            _, firsts = _groups(digests, order)
            places = np.empty(len(order), np.int64)
            places[order] = np.arange(len(order))
            starts = np.sort(places[firsts])
            self._occurrences = np.zeros(len(spool), np.int32)
            self._occurrences[kept[order]] = np.arange(len(order)) - np.repeat(
                starts, np.diff(starts, append=len(order))
            )

    def __getitem__(self, number: int) -> str:
        """The id of a document."""
        occurrence = 1 if self._occurrences is None else 1 + int(self._occurrences[number])
        return document_id(self._digests[number].astype(">u8").tobytes(), occurrence)


def _sorted(keys: Keys, groups: npt.NDArray[np.uint64]) -> Numbers:
    """The documents by group, and in each by split and by digest."""
    digests = keys.digests
    return np.lexsort((digests[:, 1], digests[:, 0], keys.ranks, groups[:, 1], groups[:, 0]))


def _groups(keys: npt.NDArray[np.uint64], order: Numbers) -> tuple[Numbers, Numbers]:
    """The number of each document's group, in the order of their keys, and the first document of each group."""
    sorted_keys = keys[order]
    begins = np.ones(len(order), bool)
    begins[1:] = (sorted_keys[1:] != sorted_keys[:-1]).any(axis=1)
    numbers = np.empty(len(order), np.int64)
    numbers[order] = np.cumsum(begins) - 1
    return numbers, order[begins]


def _in_two_splits(spool: Spool, texts: Numbers, split: sections.Split, report: Report) -> DataError:
    """What is wrong with the first row whose text was in another split before."""
    order = np.argsort(texts, kind="stable")
    groups, firsts = np.unique(texts[order], return_index=True)
    first = np.empty(len(groups), np.int64)
    first[groups] = order[firsts]
    ranks = spool.keys.ranks
    number = int(np.flatnonzero(ranks != ranks[first[texts]])[0])
    known, found = PRECEDENCE[ranks[first[texts[number]]]], PRECEDENCE[ranks[number]]
    return DataError(
        f"{spool.document(number).where} of the corpus {report.corpus} reads like a document of the {known} split, but "
        f"its {split.by} puts it into the {found} split; set cleaning.drop_duplicates to true or split.by to null.",
        "mismatch",
    )
