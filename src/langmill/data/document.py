"""The one record type, and the tables it is kept in."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO, Self

import pyarrow as pa
import pyarrow.parquet as pq

from langmill.data.parquet import parquet_file
from langmill.errors import DataError

QUARANTINE_NAME = "quarantine.parquet"
"""In a folder of documents, the rows that could not be read: place, reason and beginning of each."""
DROPPED_NAME = "dropped.parquet"
"""Some of the documents that were left out, by reason."""
PLACES_NAME = "places.parquet"
"""Where each document's row stands, by split and id; apart from the documents, which stay when their rows move."""
REPORT_NAME = "report.json"
"""The data report, with every number."""
COPIES_KEY, LEAKED_KEY, LANGUAGE_KEY, QUALITY_KEY = OWN_KEYS = "copies", "leaked", "language", "quality"
"""Metadata that Langmill sets itself: how many documents read alike (classes: `sections.COPIES`), whether a test
document stands in training documents (`yes`, `no`), and the language (`en`; of the cleaning step `language`)."""


class Split(StrEnum):
    """The part of the corpus that a document is in."""

    train = "train"
    validation = "validation"
    test = "test"


@dataclass(frozen=True, slots=True)
class Document:
    """One record of a corpus."""

    id: str
    """What it is called: by its content (`document_id`), unique in its corpus and the same wherever its row stands."""
    text: str
    label: str | None = None
    """The class, for classification."""
    target: str | None = None
    """The text to produce, for translation and completion."""
    metadata: dict[str, str] = field(default_factory=dict)
    """Further fields as text; slices are cut along them."""


def content_digest(text: str, label: str | None, target: str | None) -> bytes:
    """The SHA-256 of what a document says, cleaned; metadata is no part of it, so that a further field renames none."""
    lengths = f"{len(text)} {-1 if label is None else len(label)} {-1 if target is None else len(target)}"
    return hashlib.sha256(f"{lengths} {text}{label or ''}{target or ''}".encode()).digest()


def document_id(digest: bytes, occurrence: int) -> str:
    """A document's id.

    Args:
        digest: Its content's (`content_digest`); 128 bits of it collide by no chance that counts.
        occurrence: Which of the documents with this content it is, from 1.
    """
    return f"{digest[:16].hex()}-{occurrence}"


SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("target", pa.large_string()),
        pa.field("metadata", pa.string(), nullable=False),  # canonical JSON: its keys differ from corpus to corpus
    ]
)


_metadata_json = json.JSONEncoder(sort_keys=True, ensure_ascii=False).encode
_ROWS = 2000  # documents in a row group: what is held back before it is written


def documents_path(folder: Path, split: Split) -> Path:
    """The file of a split in a corpus's cleaned folder."""
    return folder / f"{split.value}.parquet"


class TableWriter:
    """Writes a Parquet table, a bounded number of rows at a time; it is whole after a DataError too."""

    def __init__(self, file: Path | IO[bytes], schema: pa.Schema, rows_a_group: int) -> None:
        self._writer = pq.ParquetWriter(file, schema, compression="zstd")
        self._schema = schema
        self._rows_a_group = rows_a_group
        self._rows: list[tuple[str | None, ...]] = []
        self._empty = True

    def add(self, *cells: str | None) -> None:
        """Put a row at the end."""
        self._rows.append(cells)
        if len(self._rows) == self._rows_a_group:
            self._flush()

    def _flush(self) -> None:
        columns = zip(*self._rows, strict=True) if self._rows else [()] * len(self._schema)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, self._schema, strict=True)]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        self._rows.clear()
        self._empty = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if (kind is None or issubclass(kind, DataError)) and (self._rows or self._empty):
            self._flush()
        self._writer.close()


class DocumentWriter(TableWriter):
    """Writes documents; equal documents give equal bytes."""

    def __init__(self, file: Path | IO[bytes]) -> None:
        super().__init__(file, SCHEMA, _ROWS)

    def write(self, document: Document) -> None:
        """Put a document at the end."""
        self.add(document.id, document.text, document.label, document.target, _metadata_json(document.metadata))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    if not path.is_file():
        raise DataError(f"{path} does not exist; `dvc repro` makes it from the corpus.", "missing")
    try:
        yield parquet_file(path)
    except (pa.ArrowException, json.JSONDecodeError) as error:
        raise DataError(f"{path} is not a table of documents ({error}); remove it.", "unreadable") from error


def count_documents(path: Path) -> int:
    """How many documents a split has, without reading them. Raises DataError as `read_documents` does."""
    with _opened(path) as file:
        return int(file.metadata.num_rows)


def read_documents(path: Path) -> Iterator[Document]:
    """Read the documents of one split in their order.

    Raises DataError where the file is missing or is not a table of documents.
    """
    with _opened(path) as file:
        for batch in file.iter_batches(columns=SCHEMA.names):
            for row in batch.to_pylist():
                yield Document(row["id"], row["text"], row["label"], row["target"], json.loads(row["metadata"]))
