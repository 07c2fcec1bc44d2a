"""What a contract is asked about: the data report, and what the documents themselves show.

Nothing is read before an expectation asks for it: a contract that looks at the report alone opens no table.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from langmill.config import sections
from langmill.data.contract.effect_size import IntArray
from langmill.data.contract.findings import ROWS, Place
from langmill.data.document import (
    LANGUAGE_KEY,
    PLACES_NAME,
    REPORT_NAME,
    Document,
    Split,
    documents_path,
    read_documents,
)
from langmill.data.parquet import parquet_file
from langmill.errors import DataError
from langmill.files import read_json

_ROWS = 2000  # documents that are in memory at a time
_NOTE = 80  # characters of a text that a place shows


class Kind(StrEnum):
    """What a value of a field can be read as; each but the last is also `text`."""

    boolean = "boolean"
    """`true` or `false`, in any case."""
    whole_number = "whole_number"
    number = "number"
    """A whole number, a decimal fraction or one with an exponent."""
    date = "date"
    """A day, or a day and a time, as ISO 8601 writes them."""
    json = "json"
    """A list or an object."""
    text = "text"

    def takes(self, other: Kind) -> bool:
        """Whether a value of another kind is one of this, too."""
        return self is other or self is Kind.text or (self, other) == (Kind.number, Kind.whole_number)


_KINDS = (
    (Kind.boolean, re.compile(r"(?i:true|false)")),
    (Kind.whole_number, re.compile(r"[-+]?\d+")),
    (Kind.number, re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")),
    (Kind.date, re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[-+]\d\d:?\d\d)?)?")),
)


def kind_of(value: str) -> Kind:
    """The narrowest kind of a value."""
    for kind, pattern in _KINDS:
        if pattern.fullmatch(value):
            return kind
    if value[:1] in "[{" and value[-1:] in "]}":
        try:
            json.loads(value)
        except (ValueError, RecursionError):
            return Kind.text
        return Kind.json
    return Kind.text


@dataclass
class Statistics:
    """What the documents of all splits look like."""

    documents: int = 0
    num_bytes: int = 0
    """UTF-8 bytes of texts and targets."""
    lengths: IntArray = field(default_factory=lambda: np.empty(0, np.int64))
    """Characters of each text, sorted: (documents,)."""
    target_lengths: IntArray = field(default_factory=lambda: np.empty(0, np.int64))
    """Characters of each target, sorted: (documents with a target,)."""
    labels: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    """Documents in each language; empty where none has the metadata key `language`."""
    nulls: Counter[str] = field(default_factory=Counter)
    """Documents without a value, by field: `label`, `target`, `metadata.NAME`."""
    kinds: dict[str, Counter[Kind]] = field(default_factory=lambda: defaultdict(Counter))
    """Values of each field by their kind; texts and targets are left out."""

    @property
    def fields(self) -> list[str]:
        """The fields that documents may lack, sorted: `label`, `target`, `metadata.NAME`."""
        return sorted({"label", "target", *self.nulls, *self.kinds})


def statistics_of(folder: Path) -> Statistics:
    """Look at all documents once, a few at a time. Raises DataError where a table is missing or damaged."""
    found = Statistics()
    lengths: dict[str, list[IntArray]] = {"text": [], "target": []}
    keys: set[str] = set()
    for batch in _batches(folder):
        found.documents += batch.num_rows
        for name in ("text", "target"):
            column = batch[name].drop_null()
            lengths[name].append(np.asarray(pc.utf8_length(column), np.int64))
            found.num_bytes += pc.sum(pc.binary_length(column)).as_py() or 0
        found.nulls["target"] += batch["target"].null_count
        for label, count in _counts(batch["label"]):
            if label is None:
                found.nulls["label"] += count
            else:
                found.labels[label] += count
        for text, count in _counts(batch["metadata"]):
            for key, value in json.loads(text or "{}").items():
                keys.add(key)
                if key == LANGUAGE_KEY and value:
                    found.languages[value] += count
                if value:
                    found.kinds[f"metadata.{key}"][kind_of(value)] += count
    for key in keys:  # one that a document does not have at all is missing there, as one without a value is
        found.nulls[f"metadata.{key}"] = found.documents - found.kinds[f"metadata.{key}"].total()
    for label, count in found.labels.items():
        found.kinds["label"][kind_of(label)] += count
    found.lengths, found.target_lengths = (
        np.sort(np.concatenate([np.empty(0, np.int64), *parts])) for parts in lengths.values()
    )
    return found


@contextlib.contextmanager
def opened_table(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a table of a corpus's folder. Raises DataError where it is missing or damaged."""
    if not path.is_file():
        raise DataError(f"{path} does not exist; `dvc repro` makes it from the corpus.", "missing")
    try:
        yield parquet_file(path)
    except (pa.ArrowException, json.JSONDecodeError) as error:
        raise DataError(
            f"{path} can't be read ({error}); remove it, and `dvc repro` makes it anew.", "unreadable"
        ) from error


def _batches(folder: Path) -> Iterator[pa.RecordBatch]:
    for split in Split:
        path = documents_path(folder, split)
        with opened_table(path) as file:
            yield from file.iter_batches(_ROWS, columns=["text", "label", "target", "metadata"])


def _counts(column: pa.Array) -> Iterator[tuple[str | None, int]]:
    for entry in pc.value_counts(column).to_pylist():
        yield entry["values"], entry["counts"]


def value_of(document: Document, name: str) -> str | None:
    """A document's value of a field: `label`, `target` or `metadata.NAME`; None for none, an empty one included."""
    if name.startswith("metadata."):
        return document.metadata.get(name.removeprefix("metadata.")) or None
    return {"label": document.label, "target": document.target}[name]


@dataclass(frozen=True)
class Evidence:
    """What there is to ask about."""

    folder: Path
    """The folder of documents."""
    report: Mapping[str, Any]
    """report.json."""
    reference: sections.Reference | None = None
    """What shift is measured against."""
    shown: Callable[[str], str] = str
    """What makes the text of a row that was left out fit to be shown; see `report.step_samples.redaction`."""

    @classmethod
    def of(
        cls, folder: Path, reference: sections.Reference | None = None, shown: Callable[[str], str] = str
    ) -> Evidence:
        """The evidence of a cleaned corpus. Raises LangmillError where there is no report."""
        return cls(folder, read_json(folder / REPORT_NAME), reference, shown)

    @functools.cached_property
    def statistics(self) -> Statistics:
        """What the documents look like; read once. Raises as `statistics_of` does."""
        return statistics_of(self.folder)

    def find(self, wanted: Callable[[Document], bool], note: Callable[[Document], str] | None = None) -> list[Place]:
        """The first documents of which something is true, and their places.

        Args:
            wanted: What is asked of each document.
            note: What to show of it; by default the beginning of its text.
        """
        found: dict[Split, list[Document]] = {}
        for split in Split:
            for document in read_documents(documents_path(self.folder, split)):
                if sum(map(len, found.values())) == ROWS:
                    break
                if wanted(document):
                    found.setdefault(split, []).append(document)
        places = self._places({(split.value, each.id) for split, those in found.items() for each in those})
        show = note or (lambda document: shortened(document.text))
        return [
            Place(places.get((split.value, document.id), ""), document.id, show(document))
            for split, documents in found.items()
            for document in documents
        ]

    def _places(self, wanted: set[tuple[str, str]]) -> dict[tuple[str, str], str]:
        path = self.folder / PLACES_NAME
        if not wanted or not path.is_file():
            return {}
        names = pa.array(sorted({name for _, name in wanted}), pa.string())
        with opened_table(path) as file:
            rows = [
                row
                for batch in file.iter_batches(columns=["split", "id", "where"])
                for row in batch.filter(pc.is_in(batch["id"], names)).to_pylist()
            ]
        return {(row["split"], row["id"]): row["where"] for row in rows}

    def left_out(self, table: str, wanted: Callable[[Mapping[str, Any]], bool] = lambda row: True) -> list[Place]:
        """The first rows of `QUARANTINE_NAME` or `DROPPED_NAME` of which something is true."""
        path, found = self.folder / table, list[Place]()
        if not path.is_file():
            return found
        with opened_table(path) as file:
            names = [name for name in ("where", "reason", "text", "row") if name in file.schema_arrow.names]
            for batch in file.iter_batches(_ROWS, columns=names):
                for row in batch.to_pylist():
                    if wanted(row):
                        text = shortened(self.shown(row.get("text") or row.get("row") or ""))
                        found.append(Place(row["where"], note=f"{row['reason']}: {text}" if text else row["reason"]))
                        if len(found) == ROWS:
                            return found
        return found


def shortened(text: str) -> str:
    """The beginning of a text on one line."""
    line = " ".join(text[: 4 * _NOTE].split())
    return line if len(line) <= _NOTE else f"{line[: _NOTE - 1]}…"
