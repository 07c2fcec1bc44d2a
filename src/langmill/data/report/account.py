"""The account of a corpus: what becomes of every row and of every byte of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from langmill.data.cleaning.apply import Cleaned
from langmill.data.cleaning.base import Steps
from langmill.data.cleaning.languages import ByLanguage
from langmill.data.document import DROPPED_NAME, QUARANTINE_NAME, Document, Split
from langmill.data.report import examples
from langmill.data.report.advice import too_few_to_test
from langmill.data.report.counts import SourceCount, SplitCount, StepCount, histogram, quantiles_of
from langmill.data.report.lines import FrequentLines
from langmill.data.report.step_samples import PRIVACY, StepSamples, redaction
from langmill.data.report.words import counted, told
from langmill.data.rows import BadRow, BadRowReason, Row

_SOURCES = 10_000  # sources told apart by a field, which may hold an address for each document
_OTHER_SOURCES = "other sources"


class Origin(Protocol):
    """Where a document comes from: the row, or what is still known of it."""

    @property
    def where(self) -> str:
        """The row's place."""

    @property
    def num_bytes(self) -> int:
        """UTF-8 bytes of its text and target as read."""


class Report:
    """Counts what happens to every row; no row and no byte is counted twice or not at all.

    Attributes:
        rows: Rows in the raw files.
        num_bytes: Their bytes: of a row that can be read the UTF-8 bytes of its text and target, of any other one those
            of the raw row.
        files: Rows of each raw file.
        skipped: Files of the source that were not read, by the reason.
        quarantined: Rows that could not be read, by reason.
        quarantined_bytes: Their bytes, by reason.
        bad_rows: Those rows of each raw file.
        damaged_files: Raw files whose end, or all of which, could not be read.
        causes: What is wrong with some files, a sentence each.
        readings: How some files are read otherwise than their names say, a sentence each.
        dropped: Documents left out, by reason.
        dropped_bytes: Their bytes as read, by reason.
        kept_bytes: UTF-8 bytes of the texts and targets of the documents kept.
        removed_by_cleaning: Bytes by which cleaning made the documents kept shorter; less than 0 where it added more.
        steps: What each step of cleaning did, in their order.
        duplicates: Documents that read like an earlier one, target included, left out or not.
        other_label: Duplicates whose label is not the first one's.
        other_target: Documents that read like an earlier one but have another target; they are no duplicates, left
            out or not.
        kept: Rows that became documents.
        repeated: Documents written once more, since they had many copies.
        repeated_bytes: Their UTF-8 bytes.
        copies: Documents kept by the number of documents that were alike, where it was found out.
        places: Where the rows of the documents stand that are shown, by the documents' ids.
        splits: What was kept.
    """

    def __init__(self, corpus: str) -> None:
        self.corpus = corpus
        self.rows = self.num_bytes = 0
        self.files: Counter[str] = Counter()
        self.skipped: dict[str, int] = {}
        self.quarantined: Counter[str] = Counter()
        self.quarantined_bytes: Counter[str] = Counter()
        self.bad_rows: Counter[str] = Counter()
        self.damaged_files: set[str] = set()
        self.causes: dict[str, str] = {}
        self.readings: dict[str, str] = {}
        self.dropped: Counter[str] = Counter()
        self.dropped_bytes: Counter[str] = Counter()
        self.kept_bytes = self.removed_by_cleaning = 0
        self.steps: dict[str, StepCount] = {}
        self.duplicates = self.other_label = self.other_target = 0
        self.kept = self.repeated = self.repeated_bytes = 0
        self.copies: Counter[str] = Counter()
        self.splits = {split: SplitCount() for split in Split}
        self.places: dict[str, str] = {}
        self._sources: dict[str, SourceCount] = {}
        self._named_sources = False
        self._bad_sources: dict[str, SourceCount] = {}
        self._near_duplicates: dict[str, Any] | None = None
        self._leakage: dict[str, Any] | None = None
        self._labels: Mapping[str, Any] | None = None
        self._loosest: dict[str, int] = {}
        self._examples: dict[str, Any] = {}
        self._step_samples = StepSamples()
        self._removed_lines = FrequentLines()
        self._first_bad: BadRow | None = None

    # Counting ---------------------------------------------------------------------------------------------------------

    def count_row(self, row: Row | BadRow) -> None:
        """A row has been read, or could not be."""
        num_bytes = row.num_bytes
        self.rows += 1
        self.num_bytes += num_bytes
        name = row.where.rpartition(":")[0]
        self.files[name] += 1
        if isinstance(row, BadRow):
            self.bad_rows[name] += 1
            if row.reason is BadRowReason.unreadable_file:
                self.damaged_files.add(row.file or name)
            self.quarantined[row.reason.value] += 1
            self.quarantined_bytes[row.reason.value] += num_bytes
            self._first_bad = self._first_bad or row
            source = self._bad_sources.setdefault(name, SourceCount())
        else:
            source = self._source(row.metadata, name)
        source.rows += 1
        source.num_bytes += num_bytes

    def count_changes(self, changes: Iterable[tuple[str, tuple[str, ...]]]) -> None:
        """Steps have changed a document; each comes with the kinds of its changes."""
        for step, kinds in changes:
            count = self.steps[step]
            count.changed += 1
            if kinds:
                count.changes.update(kinds)

    def observe(self, row: Row, cleaned: Cleaned) -> None:
        """Look at what cleaning made of a row, for the samples of each step and the lines that were taken out."""
        self._step_samples.offer(row, cleaned)
        if cleaned.removed_lines:
            self._removed_lines.add(cleaned.removed_lines)

    def count_drop(self, reason: str, split: Split | None, step: str | None = None, *, num_bytes: int = 0) -> None:
        """Count a document that is left out.

        Args:
            reason: Why.
            split: Where it would be; None for one of which nothing is left.
            step: The step of cleaning that dropped it, if one did.
            num_bytes: Its row's bytes, as `count_row` counted them.
        """
        self.dropped[reason] += 1
        self.dropped_bytes[reason] += num_bytes
        if split is not None:
            self.splits[split].dropped[reason] += 1
        if step is not None:
            self.steps[step].dropped[reason] += 1

    def count_kept(self, row: Origin, document: Document, split: Split) -> None:
        """Count a document that stays.

        Args:
            row: What it was made of, as `count_row` counted it.
            document: What is written.
            split: Where it is written.
        """
        num_bytes = self.splits[split].add(document, document.id.encode())
        self.kept += 1
        self.kept_bytes += num_bytes
        self.removed_by_cleaning += row.num_bytes - num_bytes
        source = self._source(document.metadata, row.where.rpartition(":")[0])
        source.kept += 1
        source.kept_bytes += num_bytes
        if copies := document.metadata.get("copies"):
            self.copies[copies] += 1

    def count_repeat(self, document: Document, split: Split) -> None:
        """Count a document that is written once more, after `count_kept`: no row came in for it."""
        self.repeated += 1
        self.repeated_bytes += self.splits[split].add(document, document.id.encode())

    def _source(self, metadata: Mapping[str, str], file: str) -> SourceCount:
        name = metadata.get("source")
        if name:
            self._named_sources = True
            if name not in self._sources and len(self._sources) >= _SOURCES:
                name = _OTHER_SOURCES
        return self._sources.setdefault(name or file, SourceCount())

    # What others have found -------------------------------------------------------------------------------------------

    def set_near_duplicates(self, *, clusters: int, pairs: int, dropped: int) -> None:
        """Set what was found of near duplicates.

        Args:
            clusters: Groups of at least two documents that are alike.
            pairs: Pairs that were proposed and found to be alike.
            dropped: Documents left out for the sake of one that is alike.
        """
        self._near_duplicates = {"clusters": clusters, "pairs": pairs, "dropped": dropped}

    def set_leakage(self, *, test_documents: int, leaked: int, examples: Sequence[Mapping[str, Any]] = ()) -> None:
        """Set what of the test split stands in the train split.

        Args:
            test_documents: Documents that were looked at.
            leaked: Those of which too much stands in the train split.
            examples: Some of these: the ids `test` and `train`, and `overlap`, the share of n-grams in common.
        """
        self._leakage = {
            "test_documents": test_documents,
            "leaked": leaked,
            "share": leaked / test_documents if test_documents else 0.0,
            "examples": [dict(example) for example in examples],
        }

    def set_labels(self, table: Mapping[str, Any]) -> None:
        """Set the table of labels: what is look-alike, null-like, rare or contradictory among them, as plain values."""
        self._labels = table

    def illustrate(self, folder: Path, steps: Steps) -> None:
        """Gather what is shown of single rows, once all is written. No personal data that the steps find is in it.

        Args:
            folder: The corpus's documents, what was quarantined and what was dropped.
            steps: The steps of cleaning, which the samples go through once more.
        """
        shown = redaction(steps)
        self.causes = {name: shown(cause) for name, cause in self.causes.items()}  # they quote the files
        self._loosest = {
            name: sum(count for language, count in self.languages.items() if step.takes_loosest(language))
            for name, step in steps.items()
            if isinstance(step, ByLanguage)
        }
        samples = self._step_samples.taken(steps)
        self._examples = {
            "steps": {
                step: {kind: [one.to_json() for one in those] for kind, those in kinds.items()}
                for step, kinds in samples.items()
            },
            "quarantine": examples.quarantined(folder / QUARANTINE_NAME, shown),
            "near_duplicates": examples.near_duplicates(folder / DROPPED_NAME, folder, shown),
            "leakage": examples.leaked(self._leakage["examples"] if self._leakage else (), folder, shown),
            "removed_lines": [[shown(line), count] for line, count in self._removed_lines.most_frequent()],
        }

    # The account ------------------------------------------------------------------------------------------------------

    @property
    def num_documents(self) -> int:
        """Documents kept."""
        return sum(count.documents for count in self.splits.values())

    @property
    def languages(self) -> Counter[str]:
        """Documents kept by their language, where a step found it."""
        return sum((count.languages for count in self.splits.values()), Counter())

    @property
    def undecided(self) -> tuple[int, int]:
        """Rows and bytes of which it is not known what becomes of them: none once a corpus is made."""
        rows = self.kept + self.dropped.total() + self.quarantined.total()
        num_bytes = self.kept_bytes + self.removed_by_cleaning + self.dropped_bytes.total()
        return self.rows - rows, self.num_bytes - num_bytes - self.quarantined_bytes.total()

    def require_balance(self) -> None:
        """Check that what came in is what was kept, dropped, quarantined or removed by cleaning, in rows and in bytes.

        Raises AssertionError where something vanished, or was counted twice. It is a bug of whoever counts.
        """
        rows, num_bytes = self.undecided
        if rows or num_bytes:
            raise AssertionError(
                f"The report on the corpus {self.corpus} does not add up: {self.account()}, {self.kept:,} kept; "
                f"{rows:,} rows and {num_bytes:,} bytes are unaccounted for."
            )

    def sample_ids(self) -> list[str]:
        """The ids of the documents that the report shows."""
        return [name for count in self.splits.values() for _, name, _ in count.samples]

    def account(self) -> str:
        """What became of the rows, in one phrase: `10 rows read; 2 quarantined (corrupt: 2, ...); 8 dropped (...)`."""
        parts = [f"{counted(self.rows, 'row')} read"]
        if self.quarantined:
            example = f"; the first is {self._first_bad.where}" if self._first_bad else ""
            parts.append(f"{self.quarantined.total():,} quarantined ({told(self.quarantined)}{example})")
        if self.dropped:
            parts.append(f"{self.dropped.total():,} dropped ({told(self.dropped)})")
        return ", ".join(parts)

    def account_of_drops(self, split: Split) -> str:
        """What was dropped of a split, in one phrase; nothing if nothing was."""
        dropped = self.splits[split].dropped
        return f"{dropped.total():,} dropped ({told(dropped)})" if dropped else ""

    def warning(self) -> str:
        """What `too_few_to_test` says of it."""
        return too_few_to_test(self.corpus, self.splits[Split.test].documents, self.num_documents)

    def as_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        rows, num_bytes = self.undecided
        return {
            "corpus": self.corpus,
            "rows": self.rows,
            "bytes": {
                "read": self.num_bytes,
                "quarantined": self.quarantined_bytes.total(),
                "quarantined_by_reason": dict(self.quarantined_bytes),
                "dropped": dict(self.dropped_bytes),
                "removed_by_cleaning": self.removed_by_cleaning,
                "kept": self.kept_bytes,
            },
            "undecided": {"rows": rows, "bytes": num_bytes},
            "files": dict(self.files),
            "damaged_files": sorted(self.damaged_files),
            "skipped_files": self.skipped,
            "sources": self._sources_as_json(),
            "quarantined": dict(self.quarantined),
            "causes": self.causes,
            "readings": self.readings,
            "dropped": dict(self.dropped),
            "steps": list(self.steps),
            "cleaning": {
                name: {"changed": step.changed, "changes": dict(step.changes), "dropped": dict(step.dropped)}
                for name, step in self.steps.items()
            },
            "duplicates": {
                "count": self.duplicates,
                "other_label": self.other_label,
                "other_target": self.other_target,
            },
            "near_duplicates": self._near_duplicates,
            "copies": dict(self.copies),
            "leakage": self._leakage,
            "privacy": dict(self.steps[PRIVACY].changes) if PRIVACY in self.steps else None,
            "labels": self._labels,
            "documents": self.num_documents,
            "repeated": {"documents": self.repeated, "bytes": self.repeated_bytes},
            "removed_lines": {"total": self._removed_lines.total, "missed": self._removed_lines.missed},
            "examples": self._examples,
            "languages": dict(self.languages),
            "loosest": self._loosest,
            "lengths": histogram({split.value: count.lengths for split, count in self.splits.items()}),
            "length_quantiles": quantiles_of(*(count.lengths for count in self.splits.values())),
            "target_lengths": histogram({split.value: count.target_lengths for split, count in self.splits.items()}),
            "splits": {
                split.value: {
                    "documents": count.documents,
                    "characters": sum(count.lengths),
                    "bytes": count.num_bytes,
                    "targets": count.targets,
                    "target_characters": count.target_characters,
                    "target_bytes": count.target_bytes,
                    "length_quantiles": count.quantiles(),
                    "target_length_quantiles": count.target_quantiles(),
                    "labels": dict(count.labels),
                    "unlabelled": count.unlabelled,
                    "languages": dict(count.languages),
                    "dropped": dict(count.dropped),
                    "samples": count.shown(self.places),
                }
                for split, count in self.splits.items()
            },
        }

    def _sources_as_json(self) -> dict[str, dict[str, int]]:
        """What came of each source.

        A row that can't be read names no source, so that it counts for its file only where files are the sources.
        """
        sources = {name: SourceCount(**vars(count)) for name, count in self._sources.items()}
        for name, bad in {} if self._named_sources else self._bad_sources.items():
            source = sources.setdefault(name, SourceCount())
            source.rows += bad.rows
            source.num_bytes += bad.num_bytes
        return {
            name: {
                "rows": count.rows,
                "kept": count.kept,
                "bytes": count.num_bytes,
                "kept_bytes": count.kept_bytes,
            }
            for name, count in sorted(sources.items())
        }

    def as_markdown(self) -> str:
        """The same for a reader, in short."""
        from langmill.data.report.markdown import markdown

        return markdown(self.as_json())

    def as_html(self) -> str:
        """The same as a page."""
        from langmill.data.report.page import page

        return page(self.as_json())
