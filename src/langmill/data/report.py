"""The data report: what came in, what was left out and why, and what the documents look like."""

from __future__ import annotations

import heapq
import math
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from langmill.data.document import Document, Split
from langmill.data.rows import BadRow, Row

FEW_DOCUMENTS = 30
"""Test documents below which an interval says little (Efron and Tibshirani, 1993, chapter 14); conf/gate/ asks for as
many."""
_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
_LARGEST_TEST = 0.3  # a share to propose: with more, too little is left to learn from
_SAMPLES = 3  # documents shown of each split
_SAMPLE_CHARACTERS = 300
_TABLE_LABELS = 20  # in the readable report; report.json has all


@dataclass
class SplitCount:
    """One split of the corpus."""

    documents: int = 0
    num_bytes: int = 0
    """UTF-8 bytes of the texts."""
    targets: int = 0
    """Documents with a target."""
    target_characters: int = 0
    """Characters of all targets."""
    lengths: array[int] = field(default_factory=lambda: array("Q"))
    """Characters of each text."""
    labels: Counter[str] = field(default_factory=Counter)
    unlabelled: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    """Documents left out that would be in this split, by reason."""
    samples: list[tuple[bytes, str, Document]] = field(default_factory=list)
    """A heap of the documents with the largest keys: a random choice that is always the same."""

    def add(self, document: Document, key: bytes) -> None:
        """Count a document; `key` is a hash of its text."""
        self.documents += 1
        self.num_bytes += len(document.text) if document.text.isascii() else len(document.text.encode())
        self.lengths.append(len(document.text))
        if document.target is not None:
            self.targets += 1
            self.target_characters += len(document.target)
        if document.label is None:
            self.unlabelled += 1
        else:
            self.labels[document.label] += 1
        if len(self.samples) < _SAMPLES:
            heapq.heappush(self.samples, (key, document.id, document))
        elif key > self.samples[0][0]:
            heapq.heapreplace(self.samples, (key, document.id, document))

    def quantiles(self) -> dict[str, int]:
        """Lengths in characters below which the given shares of the documents lie."""
        if not self.documents:
            return {}
        values = np.quantile(np.asarray(self.lengths), _QUANTILES, method="lower")
        return {f"{share:g}": int(value) for share, value in zip(_QUANTILES, values, strict=True)}

    def shown(self, places: Mapping[str, str]) -> list[dict[str, str | None]]:
        """A few documents, shortened, with their places by their ids."""
        return [
            {
                "id": document.id,
                "where": places.get(document.id),
                "label": document.label,
                "text": document.text[:_SAMPLE_CHARACTERS],
                "target": None if document.target is None else document.target[:_SAMPLE_CHARACTERS],
            }
            for _, _, document in sorted(self.samples, key=lambda sample: sample[:2], reverse=True)
        ]


@dataclass
class StepCount:
    """What a step of cleaning did."""

    changed: int = 0
    """Documents that it changed, kept in the end or not."""
    changes: Counter[str] = field(default_factory=Counter)
    """What it changed in them, by kind, where it tells them apart."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Documents that it dropped, by reason."""


class Report:
    """Counts what happens to every row; no row is counted twice or not at all.

    Attributes:
        rows: Rows in the raw files.
        files: Rows of each raw file.
        skipped: Files of the source that were not read, by the reason.
        quarantined: Rows that could not be read, by reason.
        damaged_files: Those rows of each raw file.
        causes: What is wrong with some of these files, a sentence each.
        dropped: Documents left out, by reason.
        steps: What each step of cleaning did, in their order.
        duplicates: Documents that read like an earlier one, target included, left out or not.
        other_label: Duplicates whose label is not the first one's.
        other_target: Documents that read like an earlier one but have another target; they are no duplicates, left
            out or not.
        places: Where the rows of the documents stand that are shown, by the documents' ids.
        splits: What was kept.
    """

    def __init__(self, corpus: str) -> None:
        self.corpus = corpus
        self.rows = 0
        self.files: Counter[str] = Counter()
        self.skipped: dict[str, int] = {}
        self.quarantined: Counter[str] = Counter()
        self.damaged_files: Counter[str] = Counter()
        self.causes: dict[str, str] = {}
        self.dropped: Counter[str] = Counter()
        self.steps: dict[str, StepCount] = {}
        self.duplicates = self.other_label = self.other_target = 0
        self.splits = {split: SplitCount() for split in Split}
        self.places: dict[str, str] = {}
        self._first_bad: BadRow | None = None

    def count_row(self, row: Row | BadRow) -> None:
        """A row has been read, or could not be."""
        self.rows += 1
        name = row.where.rpartition(":")[0]
        self.files[name] += 1
        if isinstance(row, BadRow):
            self.damaged_files[name] += 1
            self.quarantined[row.reason.value] += 1
            self._first_bad = self._first_bad or row

    def count_changes(self, changes: Iterable[tuple[str, tuple[str, ...]]]) -> None:
        """Steps have changed a document; each comes with the kinds of its changes."""
        for step, kinds in changes:
            count = self.steps[step]
            count.changed += 1
            if kinds:
                count.changes.update(kinds)

    def count_drop(self, reason: str, split: Split | None, step: str | None = None) -> None:
        """Count a document that is left out.

        Args:
            reason: Why.
            split: Where it would be; None for one of which nothing is left.
            step: The step of cleaning that dropped it, if one did.
        """
        self.dropped[reason] += 1
        if split is not None:
            self.splits[split].dropped[reason] += 1
        if step is not None:
            self.steps[step].dropped[reason] += 1

    def sample_ids(self) -> list[str]:
        """The ids of the documents that the report shows."""
        return [name for count in self.splits.values() for _, name, _ in count.samples]

    @property
    def num_documents(self) -> int:
        """Documents kept."""
        return sum(count.documents for count in self.splits.values())

    def account(self) -> str:
        """What became of the rows, in one phrase: `10 rows read; 2 quarantined (corrupt: 2, ...); 8 dropped (...)`."""
        parts = [f"{self.rows:,} rows read"]
        if self.quarantined:
            example = f"; the first is {self._first_bad.where}" if self._first_bad else ""
            parts.append(f"{self.quarantined.total():,} quarantined ({_told(self.quarantined)}{example})")
        if self.dropped:
            parts.append(f"{self.dropped.total():,} dropped ({_told(self.dropped)})")
        return ", ".join(parts)

    def warning(self) -> str:
        """What `too_few_to_test` says of it."""
        return too_few_to_test(self.corpus, self.splits[Split.test].documents, self.num_documents)

    def account_of_drops(self, split: Split) -> str:
        """What was dropped of a split, in one phrase; nothing if nothing was."""
        dropped = self.splits[split].dropped
        return f"{dropped.total():,} dropped ({_told(dropped)})" if dropped else ""

    def as_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return {
            "corpus": self.corpus,
            "rows": self.rows,
            "files": dict(self.files),
            "skipped_files": self.skipped,
            "quarantined": dict(self.quarantined),
            "causes": self.causes,
            "dropped": dict(self.dropped),
            "cleaning": {
                name: {"changed": step.changed, "changes": dict(step.changes), "dropped": dict(step.dropped)}
                for name, step in self.steps.items()
            },
            "duplicates": {
                "count": self.duplicates,
                "other_label": self.other_label,
                "other_target": self.other_target,
            },
            "documents": self.num_documents,
            "splits": {
                split.value: {
                    "documents": count.documents,
                    "characters": sum(count.lengths),
                    "bytes": count.num_bytes,
                    "targets": count.targets,
                    "target_characters": count.target_characters,
                    "length_quantiles": count.quantiles(),
                    "labels": dict(count.labels),
                    "unlabelled": count.unlabelled,
                    "dropped": dict(count.dropped),
                    "samples": count.shown(self.places),
                }
                for split, count in self.splits.items()
            },
        }

    def as_markdown(self) -> str:
        """The same for a reader."""
        parts = [f"# The corpus {self.corpus}", self._flow(), self._splits(), self._lengths()]
        if any(count.labels for count in self.splits.values()):
            parts.append(self._labels())
        if self.steps:
            parts.append(self._cleaning())
        if self.duplicates or self.other_target:
            parts.append(self._duplicates())
        parts.append(self._files())
        parts.append(self._samples())
        return "\n\n".join(parts) + "\n"

    def _flow(self) -> str:
        rows: list[list[object]] = [["rows read", self.rows]]
        rows += [[f"quarantined: {_words(reason)}", -count] for reason, count in sorted(self.quarantined.items())]
        rows += [[f"dropped: {_words(reason)}", -count] for reason, count in sorted(self.dropped.items())]
        return _table(["", "rows"], [*rows, ["**documents**", self.num_documents]])

    def _splits(self) -> str:
        rows = [
            [split.value, count.documents, f"{count.documents / max(1, self.num_documents):.2%}", count.num_bytes]
            for split, count in self.splits.items()
        ]
        head = ["split", "documents", "share", "UTF-8 bytes"]
        if any(count.targets for count in self.splits.values()):
            head += ["with a target", "target characters"]
            rows = [
                [*row, count.targets, count.target_characters]
                for row, count in zip(rows, self.splits.values(), strict=True)
            ]
        warning = f"\n\n{self.warning()}" if self.warning() else ""
        return f"## Splits\n\n{_table(head, rows)}{warning}"

    def _lengths(self) -> str:
        names = ["shortest", "5%", "25%", "median", "75%", "95%", "longest"]
        rows = [[split.value, *count.quantiles().values()] for split, count in self.splits.items()]
        return "## Length in characters\n\n" + _table(["split", *names], rows)

    def _labels(self) -> str:
        total: Counter[str] = Counter()
        for count in self.splits.values():
            total.update(count.labels)
        common = [label for label, _ in sorted(total.items(), key=lambda item: (-item[1], item[0]))]
        rows: list[list[object]] = [
            [_cell(label), *(count.labels[label] for count in self.splits.values())] for label in common[:_TABLE_LABELS]
        ]
        if len(common) > _TABLE_LABELS:
            rest = common[_TABLE_LABELS:]
            others = [sum(count.labels[label] for label in rest) for count in self.splits.values()]
            rows.append([f"{len(rest):,} others", *others])
        if any(count.unlabelled for count in self.splits.values()):
            rows.append(["none", *(count.unlabelled for count in self.splits.values())])
        return "## Labels\n\n" + _table(["label", *(split.value for split in self.splits)], rows)

    def _cleaning(self) -> str:
        rows = [
            [_cell(name), step.changed, _told(step.changes), step.dropped.total(), _told(step.dropped)]
            for name, step in self.steps.items()
        ]
        return "## Cleaning\n\n" + _table(["step", "documents changed", "changes", "documents dropped", "why"], rows)

    def _duplicates(self) -> str:
        parts = [f"Documents that read like an earlier one: {self.duplicates:,}"]
        if self.other_label:
            parts.append(f"of these with another label: {self.other_label:,}")
        if self.other_target:
            parts.append(f"documents that read like an earlier one but have another target: {self.other_target:,}")
        return f"## Duplicates\n\n{'; '.join(parts)}."

    def _files(self) -> str:
        shown = sorted(self.files.items())
        rows: list[list[object]] = [[_cell(name), count] for name, count in shown[:_TABLE_LABELS]]
        if len(shown) > _TABLE_LABELS:
            rows.append([f"{len(shown) - _TABLE_LABELS:,} others", sum(count for _, count in shown[_TABLE_LABELS:])])
        parts = ["## Files", _table(["file", "rows"], rows)]
        if self.skipped:
            parts.append(f"Files of the source that were not read: {_listed(self.skipped)}.")
        parts += [f"What is wrong with {_cell(name)}: {_cell(cause)}" for name, cause in self.causes.items()]
        return "\n\n".join(parts)

    def _samples(self) -> str:
        parts = ["## Some documents"]
        for split, count in self.splits.items():
            for sample in count.shown(self.places):
                text = _cell(str(sample["text"]))
                label = "" if sample["label"] is None else f", label {_cell(str(sample['label']))}"
                target = "" if sample["target"] is None else f"\n>\n> → {_cell(str(sample['target']))}"
                parts.append(
                    f"**{_cell(str(sample['where'] or sample['id']))}** ({split.value}{label})\n\n> {text}{target}"
                )
        return "\n\n".join(parts)


def too_few_to_test(
    corpus: str, test: int, documents: int, least: int = FEW_DOCUMENTS, *, estimated: bool = False
) -> str:
    """What to say of a corpus whose test split is too small for the gate, and what to do; empty if it is not.

    Args:
        corpus: Its name.
        test: Documents of the test split.
        documents: Those of all splits.
        least: What gate.rules.enough_documents.min_documents asks for.
        estimated: Whether the numbers are no counts yet.
    """
    if test >= least:
        return ""
    about, noun = "about " if estimated else "", "document" if test == 1 else "documents"
    missing = "1 is" if least - test == 1 else f"{least - test:,} are"
    share = math.ceil(130 * least / max(1, documents)) / 100  # some more than are needed, for a hash is no exact share
    larger = f", or make split.test at least {share:g} in conf/corpus/{corpus}.yaml" if share <= _LARGEST_TEST else ""
    return (
        f"The corpus {corpus} has {about}{test:,} test {noun}; gate.rules.enough_documents.min_documents asks for "
        f"{least:,}, so {about}{missing} missing, and the gate will refuse any model: add documents{larger}."
    )


def _told(counts: Mapping[str, int]) -> str:
    return _listed({_words(reason): count for reason, count in counts.items()})


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{_cell(reason)}: {count:,}" for reason, count in sorted(counts.items()))


def _words(reason: str) -> str:
    return reason.replace("_", " ")


def _cell(text: str) -> str:
    """Text that can't break a Markdown table or quotation."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _table(head: list[str], rows: list[list[Any]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    lines += [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
