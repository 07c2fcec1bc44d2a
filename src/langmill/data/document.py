"""The one record type, and the tables it is kept in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from langmill.errors import DataError
from langmill.files import atomic_file


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


class DocumentWriter:
    """Writes documents as Parquet, a bounded number at a time; equal documents give equal bytes."""

    def __init__(self, file: Path | IO[bytes]) -> None:
        self._writer = pq.ParquetWriter(file, SCHEMA, compression="zstd")
        self._rows: list[tuple[str, str, str | None, str | None, str]] = []
        self.count = 0
        """Documents added so far."""

    def add(self, document: Document) -> None:
        """Put a document at the end."""
        metadata = _metadata_json(document.metadata)
        self._rows.append((document.id, document.text, document.label, document.target, metadata))
        self.count += 1
        if len(self._rows) == _ROWS:
            self._flush()

    def _flush(self) -> None:
        columns = zip(*self._rows, strict=True) if self._rows else [()] * len(SCHEMA)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=SCHEMA))
        self._rows.clear()

    def __enter__(self) -> DocumentWriter:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None and (self._rows or not self.count):
            self._flush()
        self._writer.close()


def write_documents(path: Path, documents: Iterable[Document]) -> int:
    """Write documents as Parquet, atomically, and say how many; equal documents give equal bytes."""
    with atomic_file(path) as file, DocumentWriter(file) as writer:
        for document in documents:
            writer.add(document)
    return writer.count


def count_documents(path: Path) -> int:
    """How many documents a split has, without reading them.

    Raises:
        DataError: The file is missing or is not a table of documents.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist; `dvc repro` makes it from the corpus.", "missing")
    try:
        return int(pq.read_metadata(path).num_rows)
    except pa.ArrowException as error:
        raise DataError(f"{path} is not a table of documents ({error}); remove it.", "unreadable") from error


def read_documents(path: Path) -> Iterator[Document]:
    """Read the documents of one split in their order.

    Raises:
        DataError: The file is missing or is not a table of documents.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist; `dvc repro` makes it from the corpus.", "missing")
    try:
        file = pq.ParquetFile(path)
        for batch in file.iter_batches(columns=SCHEMA.names):
            for row in batch.to_pylist():
                yield Document(row["id"], row["text"], row["label"], row["target"], json.loads(row["metadata"]))
    except (pa.ArrowException, json.JSONDecodeError) as error:
        raise DataError(f"{path} is not a table of documents ({error}); remove it.", "unreadable") from error
