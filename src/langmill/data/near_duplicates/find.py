"""Near duplicates of a corpus: which documents are left out, and which must be in one split."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from langmill.config import sections
from langmill.data.duplicates import Fate, Numbers, Verdicts
from langmill.data.near_duplicates.candidates import Candidates
from langmill.data.near_duplicates.clusters import Clusters
from langmill.data.near_duplicates.common import DocumentFrequencies
from langmill.data.near_duplicates.decide import Judge, Likeness, num_shared
from langmill.data.near_duplicates.words import Offsets, Words, distinct, ngrams
from langmill.data.report import Report
from langmill.data.spool import Spool

_CHUNK_WORDS = 2**18
_CHUNK_DOCUMENTS = 1000
_STEP = 1000
_KEPT = int(Fate.kept)


class _Search:
    """Goes through the documents in the order of preference, and compares each with those before it."""

    def __init__(
        self, spool: Spool, verdicts: Verdicts, near: sections.NearDuplicates, settings: sections.Cleaning, *, by: bool
    ) -> None:
        self._spool = spool
        self._verdicts = verdicts
        self._near = near
        self._drop = settings.drop_duplicates
        self._threads = settings.workers
        self._by = by
        self.texts = Clusters(int(verdicts.texts.max(initial=-1)) + 1)
        """Texts that are alike, by their numbers."""
        self.pairs = Clusters(int(verdicts.pairs.max(initial=-1)) + 1)
        """Documents that are alike, target and label included, by the numbers of their pairs."""
        self.num_pairs = 0

    def run(self, on_documents: Callable[[int], object]) -> None:
        ordered = self._ordered()
        if not len(ordered):
            return
        candidates = Candidates(ordered, self._bands)
        if not len(candidates.documents):
            return
        frequencies = DocumentFrequencies(int(self._spool.offsets[0][-1]), self._near.ngrams)
        frequencies.count(self._batches(ordered), self._threads)
        judge = Judge(self._near, frequencies, self._spool.text_words)
        for first in range(0, len(candidates.documents), _STEP):
            last = min(first + _STEP, len(candidates.documents))
            places = candidates.documents[first:last]
            judge.prepare(ordered[places])
            for place, before in zip(places.tolist(), candidates.before(first, last), strict=True):
                number = int(ordered[place])
                if len(before):
                    self._look_at(number, ordered[before], judge)
                if self._verdicts.fates[number] == _KEPT:
                    judge.keep(number)
            on_documents(last - first)

    def _ordered(self) -> Numbers:
        """The documents that are compared, the longest first; by split first where a field decides it."""
        keys, verdicts = self._spool.keys, self._verdicts
        chosen = np.flatnonzero(verdicts.fates == Fate.kept)
        if not self._drop:  # one of each is enough: exact duplicates are alike anyway
            chosen = np.sort(np.unique(verdicts.pairs[chosen], return_index=True)[1])
        chosen = chosen[np.diff(self._spool.offsets[0])[chosen] >= self._near.min_words]
        digests = keys.digests[chosen]
        ranks = verdicts.ranks[chosen] if self._by else np.zeros(len(chosen), np.uint8)
        return chosen[np.lexsort((digests[:, 1], digests[:, 0], -keys.lengths[chosen].astype(np.int64), ranks))]

    def _bands(self, band: int) -> npt.NDArray[np.uint64]:
        values = self._spool.bands(band)
        assert values is not None
        return values

    def _batches(self, chosen: Numbers) -> Iterator[tuple[Words, Offsets]]:
        """The words of the documents that are compared."""
        spool = self._spool
        wanted = np.zeros(len(spool), bool)
        wanted[chosen] = True
        for begin, end in spool.chunks(_CHUNK_WORDS):
            for first in range(begin, end, _CHUNK_DOCUMENTS):
                last = min(end, first + _CHUNK_DOCUMENTS)
                ends = spool.offsets[0][first : last + 1] - spool.offsets[0][first]
                lengths = np.diff(ends)
                keep = wanted[first:last]
                words = spool.text_words(first, last)
                yield words[np.repeat(keep, lengths)], np.cumsum(lengths[keep])

    def _look_at(self, number: int, numbers: Numbers, judge: Judge) -> None:
        """Compare a document with others before it: with all that are kept, and if it stays, with the rest."""
        verdicts = self._verdicts
        stay = verdicts.fates[numbers] == _KEPT
        best: tuple[float, int, Likeness, Fate] | None = None
        for twin in numbers[stay].tolist():
            likeness = judge.compare(number, twin)
            if not likeness.alike:
                continue
            fate = self._join(number, twin)
            if fate is not Fate.kept and (best is None or likeness.containment > best[0]):
                best = likeness.containment, twin, likeness, fate
        if best is not None:
            _, twin, likeness, fate = best
            verdicts.lose(np.array([number]), fate, np.array([twin]), likeness.similarity, likeness.containment)
            return
        for twin in numbers[~stay].tolist():
            if judge.compare(number, twin).alike:
                self._join(number, twin)

    def _join(self, number: int, twin: int) -> Fate:
        """Note that two texts are alike; what becomes of the first if the second is kept."""
        verdicts = self._verdicts
        self.num_pairs += 1
        self.texts.join(int(verdicts.texts[number]), int(verdicts.texts[twin]))
        if same_answer(self._spool, number, twin, self._near):
            self.pairs.join(int(verdicts.pairs[number]), int(verdicts.pairs[twin]))
            return Fate.near_duplicate if self._drop else Fate.kept
        crossing = self._drop and self._by and verdicts.ranks[number] != verdicts.ranks[twin]
        return Fate.cross_split if crossing else Fate.kept


def same_answer(spool: Spool, one: int, other: int, near: sections.NearDuplicates) -> bool:
    """Whether two documents whose texts are alike have the same label, and targets that are alike too.

    Targets of fewer than `min_words` words are alike where their words are the same.
    """
    keys = spool.keys
    if keys.labels[one] != keys.labels[other]:
        return False
    if keys.targets[one] < 0 or keys.targets[other] < 0:
        return bool(keys.targets[one] == keys.targets[other])
    first, second = spool.target_words(one), spool.target_words(other)
    if min(len(first), len(second)) < near.min_words:
        return np.array_equal(first, second)
    grams, others = (distinct(ngrams(words, near.ngrams)) for words in (first, second))
    return num_shared(grams, others) >= near.threshold * min(len(grams), len(others))


def find_near_duplicates(
    spool: Spool,
    verdicts: Verdicts,
    settings: sections.Cleaning,
    split: sections.Split,
    report: Report,
    *,
    on_documents: Callable[[int], object] = lambda _: None,
) -> npt.NDArray[np.int64]:
    """Leave out near duplicates, and put clusters of them into one split.

    Documents are gone through from the longest to the shortest, equal ones in the order of their digests; each that is
    a near duplicate of one that stays is left out. Where texts are alike but not the label or the target, both stay.

    The split of a cluster is that of the document in it with the least key. So a document that is added moves others
    only where it is alike to them and its key is the least: with a chance of one in the cluster's new size. Where
    `split.by` decides, groups stay whole instead: the document in the first split is preferred to a longer one, and
    what is alike to it in a later split is left out.

    Args:
        spool: The documents.
        verdicts: What has been decided on exact duplicates; the rest is written into it.
        settings: The thresholds, and whether any is left out.
        split: How splits are made.
        report: Told what was found.
        on_documents: Called with the number of documents compared since the last call.

    Returns:
        How many documents there are in the cluster of each, itself included, exact duplicates too: (documents,).
    """
    sizes = np.bincount(verdicts.pairs)
    if settings.near_duplicates is None:
        return sizes[verdicts.pairs]
    search = _Search(spool, verdicts, settings.near_duplicates, settings, by=split.by is not None)
    search.run(on_documents)
    verdicts.settle()
    if split.by is None:
        clusters = search.texts.least()  # texts are numbered in the order of their keys
        ranks = np.zeros(len(clusters), np.uint8)
        ranks[verdicts.texts] = spool.keys.ranks
        verdicts.ranks = ranks[clusters][verdicts.texts]
    roots = search.pairs.least()
    sizes = np.bincount(roots, weights=sizes, minlength=len(sizes)).astype(np.int64)
    members = np.bincount(search.texts.least())
    report.set_near_duplicates(
        clusters=int((members > 1).sum()),
        pairs=search.num_pairs,
        dropped=int((verdicts.fates == Fate.near_duplicate).sum()),
    )
    return sizes[roots][verdicts.pairs]
