"""Which of the documents that read alike is kept: the same one in whatever order they come."""

from __future__ import annotations

from collections import Counter

from langmill.config import sections
from langmill.data.cleaning.apply import Cleaned, DropReason
from langmill.data.document import Document, Split, content_digest, document_id
from langmill.data.folding import key_of, pair_key_of
from langmill.data.report import Report
from langmill.data.rows import Row
from langmill.errors import DataError

_KEY_BYTES = 16  # of a document's key are remembered: 128 bits collide by no chance that counts
_LABEL_BYTES = 4
# A text that `split.by` would put into two splits stays in the first of these, so that no data for training change what
# is tested.
_PRECEDENCE = (Split.test, Split.validation, Split.train)
_RANKS = {split: bytes([rank]) for rank, split in enumerate(_PRECEDENCE)}


class Duplicates:
    """Remembers what has been kept, by key.

    Of documents that read alike, target included, the one in the first split (`_PRECEDENCE`) and with the smallest
    digest of its content is kept. It may come after others that were kept until then; those are `superseded`.

    Attributes:
        folding: What makes no difference to keys.
        unsettled: The splits that hold superseded documents.
    """

    def __init__(self, cleaning: sections.Cleaning, split: sections.Split, report: Report) -> None:
        self._drop = cleaning.drop_duplicates
        self.folding = cleaning.fold
        self._by = split.by
        self._report = report
        self._best: dict[bytes, bytes] = {}
        """Rank of the split, digest and label's number of the best document of each text with its target."""
        self._splits: dict[bytes, Split] = {}
        """The split of each text, where texts alike may differ in their target or in what decides their split."""
        self._labels: dict[str | None, int] = {}
        self._contents: Counter[bytes] = Counter()
        """How often each content has been kept; counted only where duplicates are."""
        self.unsettled: set[Split] = set()

    def id_of(self, digest: bytes) -> str:
        """The id of a document that is kept, from its content's digest."""
        if self._drop:  # an equal content is an equal pair, and dropped
            return document_id(digest, 1)
        self._contents[digest] += 1
        return document_id(digest, self._contents[digest])

    def judge(self, row: Row, cleaned: Cleaned, split: Split, digest: bytes) -> DropReason | None:
        """Why a row is left out for the sake of others; None keeps it.

        Equal texts with different targets are all kept: several answers to a question, several translations.

        Args:
            row: The row.
            cleaned: What cleaning made of it.
            split: Where it would be.
            digest: Its content's (`content_digest`).

        Raises:
            DataError: Its text is in another split too, and duplicates are to be kept.
        """
        key, pair_key = cleaned.key[:_KEY_BYTES], cleaned.pair_key[:_KEY_BYTES]
        rank = _RANKS[split] + digest[:_KEY_BYTES]
        label = self._labels.setdefault(row.label, len(self._labels)).to_bytes(_LABEL_BYTES, "big")
        best = self._best.get(pair_key)
        if best is None or (self._drop and rank < best[:-_LABEL_BYTES]):
            self._best[pair_key] = rank + label
        if best is not None:
            self._report.duplicates += 1
            self._report.other_label += best[-_LABEL_BYTES:] != label
        if cleaned.target is not None or self._by is not None:
            known = self._splits.get(key)
            if known is not None and best is None:
                self._report.other_target += 1
            if known not in (None, split):
                self._require_dropping(row, known, split)
                if _RANKS[known] < rank[:1]:
                    return _lost(best, rank)
                self.unsettled.add(known)
            self._splits[key] = split
        if best is not None and self._drop:
            if best[:-_LABEL_BYTES] <= rank:
                return DropReason.duplicate
            self.unsettled.add(_PRECEDENCE[best[0]])
        return None

    def superseded(self, document: Document, split: Split) -> DropReason | None:
        """Why a document that was kept is left out now that all rows are known; None keeps it."""
        key = key_of(document.text, self.folding)
        pair_key = key if document.target is None else pair_key_of(key, key_of(document.target, self.folding))
        digest = content_digest(document.text, document.label, document.target)
        best, rank = self._best[pair_key[:_KEY_BYTES]], _RANKS[split] + digest[:_KEY_BYTES]
        if self._splits.get(key[:_KEY_BYTES], split) is not split:
            return _lost(best, rank)
        return None if best[:-_LABEL_BYTES] == rank else DropReason.duplicate

    def _require_dropping(self, row: Row, known: Split, split: Split) -> None:
        if not self._drop:
            raise DataError(
                f"{row.where} of the corpus {self._report.corpus} reads like a document of the {known} split, but its "
                f"{self._by} puts it into the {split} split; set cleaning.drop_duplicates to true or split.by to null.",
                "mismatch",
            )


def _lost(best: bytes | None, rank: bytes) -> DropReason:
    """Why a document is left out whose text stands in a split before its own."""
    return DropReason.cross_split if best is None or best[:1] >= rank[:1] else DropReason.duplicate
