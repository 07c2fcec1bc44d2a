"""Cleaned documents on disk between the passes of `corpus.make_corpus`, and the little of each that stays in memory.

In memory are 77 bytes a document: three keys of 16 bytes, two lengths, its label, its split and where its words begin.
Its text, the words it is compared by (4 bytes each) and the bands of its signature (8 bytes each) are in files, which
are read from front to back, the words also here and there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from langmill.data.cleaning.apply import Cleaned
from langmill.data.document import Split, content_digest
from langmill.data.near_duplicates.fingerprints import Fingerprints
from langmill.data.near_duplicates.minhash import BANDS
from langmill.data.near_duplicates.words import Hashes, Offsets, Words
from langmill.data.parquet import parquet_file
from langmill.data.rows import Row

PRECEDENCE = (Split.test, Split.validation, Split.train)
"""A text that would be in two splits stays in the first of these: no data for training change what is tested."""
KEY_BYTES = 16
"""What is remembered of a key: 128 bits collide by no chance that counts."""
_RANKS = {split: rank for rank, split in enumerate(PRECEDENCE)}
_SCHEMA = pa.schema(
    [
        pa.field("where", pa.string(), nullable=False),
        pa.field("num_bytes", pa.int64(), nullable=False),
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("target", pa.large_string()),
        pa.field("metadata", pa.string(), nullable=False),
    ]
)
_as_json = json.JSONEncoder(ensure_ascii=False).encode
_GROUP_BYTES = 4_000_000
_GROUP_ROWS = 4000


class Spooled(NamedTuple):
    """A cleaned document and the row that it is made of."""

    where: str
    num_bytes: int
    """UTF-8 bytes of the row's text and target as read."""
    text: str
    label: str | None
    target: str | None
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True)
class Keys:
    """What is remembered of every document, in the order in which they were read; each array is (documents, ...)."""

    texts: Hashes
    """The key of the text, as two numbers: equal where texts are alike."""
    pairs: Hashes
    """The key of text and target."""
    digests: Hashes
    """The digest of the content (`document.content_digest`), which is the id."""
    labels: npt.NDArray[np.int32]
    """The label's number; documents without one have one too."""
    ranks: npt.NDArray[np.uint8]
    """The split by the document's own deciding key, as its place in `PRECEDENCE`."""
    lengths: npt.NDArray[np.int32]
    """Characters of the text."""
    targets: npt.NDArray[np.int32]
    """Characters of the target; -1 for none."""


class Spool:
    """Writes cleaned documents to a folder, then reads them as often as it takes.

    Args:
        folder: An empty folder, which the caller removes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer = pq.ParquetWriter(folder / "documents.parquet", _SCHEMA, compression="lz4")
        self._rows: list[tuple[Any, ...]] = []
        self._bytes = self._count = 0
        self._keys = bytearray()  # texts, pairs and digests, 48 bytes a document
        self._numbers: list[npt.NDArray[np.int32]] = []
        self._pending: list[tuple[int, int, int, int]] = []
        self._labels: dict[str | None, int] = {}
        self._word_files = [(folder / name).open("w+b") for name in ("texts.words", "targets.words")]
        self._ends: list[list[Offsets]] = [[], []]
        self._written_words = [0, 0]
        self._band_files: list[BinaryIO] = []
        self.keys: Keys
        self.offsets: tuple[Offsets, Offsets]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()
        for file in (*self._word_files, *self._band_files):
            file.close()

    # Writing ----------------------------------------------------------------------------------------------------------

    def add(self, row: Row, cleaned: Cleaned, split: Split) -> None:
        """Put a document at the end.

        Args:
            row: What it was made of.
            cleaned: What it is now.
            split: Where its own deciding key puts it.
        """
        digest = content_digest(cleaned.text, row.label, cleaned.target)
        for key in (cleaned.key, cleaned.pair_key, digest):
            self._keys += key[:KEY_BYTES]
        label = self._labels.setdefault(row.label, len(self._labels))
        target = -1 if cleaned.target is None else len(cleaned.target)
        self._pending.append((label, _RANKS[split], len(cleaned.text), target))
        metadata = _as_json(dict(cleaned.metadata))
        self._rows.append((row.where, row.num_bytes, cleaned.text, row.label, cleaned.target, metadata))
        self._bytes += len(cleaned.text) + max(0, target)
        self._count += 1
        if self._bytes >= _GROUP_BYTES or len(self._rows) >= _GROUP_ROWS:
            self._flush()

    def add_fingerprints(self, prints: Fingerprints, kept: Sequence[bool]) -> None:
        """Put what a batch of documents is compared by at the end.

        Args:
            prints: Of the whole batch.
            kept: Which documents of the batch `add` was called for; the others have no words.
        """
        chosen = np.array(kept, bool)
        parts = ((prints.text_words, prints.text_ends), (prints.target_words, prints.target_ends))
        for part, (words, ends) in enumerate(parts):
            self._word_files[part].write(words.tobytes())
            self._ends[part].append(self._written_words[part] + ends[chosen])
            self._written_words[part] += len(words)
        if prints.bands is not None:
            if not self._band_files:
                self._band_files = [(self.folder / f"{band}.bands").open("w+b") for band in range(BANDS)]
            for band, file in enumerate(self._band_files):
                file.write(np.ascontiguousarray(prints.bands[chosen, band]).tobytes())

    def _flush(self) -> None:
        if self._rows:
            columns = zip(*self._rows, strict=True)
            arrays = [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)]
            self._writer.write_table(pa.Table.from_arrays(arrays, schema=_SCHEMA))
            self._numbers.append(np.array(self._pending, np.int32))
        self._rows, self._pending, self._bytes = [], [], 0

    def finish(self) -> None:
        """End the writing; `keys` and the reading methods are there from now on."""
        self._flush()
        self._writer.close()
        # Big-endian, so that numbers sort as the bytes do.
        keys = np.frombuffer(self._keys, ">u8").reshape(self._count, 3, 2).astype(np.uint64)
        self._keys = bytearray()
        numbers = np.concatenate([*self._numbers, np.empty((0, 4), np.int32)])
        self._numbers = []
        self.keys = Keys(
            np.ascontiguousarray(keys[:, 0]),
            np.ascontiguousarray(keys[:, 1]),
            np.ascontiguousarray(keys[:, 2]),
            np.ascontiguousarray(numbers[:, 0]),
            numbers[:, 1].astype(np.uint8),
            np.ascontiguousarray(numbers[:, 2]),
            np.ascontiguousarray(numbers[:, 3]),
        )
        first, second = (np.concatenate([np.zeros(1, np.int64), *ends]) for ends in self._ends)
        self.offsets = first, second
        self._ends = [[], []]
        for file in (*self._word_files, *self._band_files):
            file.flush()

    # Reading ----------------------------------------------------------------------------------------------------------

    @property
    def unlabelled(self) -> int:
        """The number in `keys.labels` of documents without a label; -1 where all have one."""
        return self._labels.get(None, -1)

    def __len__(self) -> int:
        return self._count

    def documents(self) -> Iterator[tuple[int, Spooled]]:
        """Every document with its number, in the order in which they were read."""
        number = 0
        with parquet_file(self.folder / "documents.parquet") as file:
            for batch in file.iter_batches(batch_size=_GROUP_ROWS):
                rows = zip(*(column.to_pylist() for column in batch.columns), strict=True)
                for where, num_bytes, text, label, target, metadata in rows:
                    yield number, Spooled(where, num_bytes, text, label, target, json.loads(metadata))
                    number += 1

    def document(self, number: int) -> Spooled:
        """One document; slow."""
        return next(document for found, document in self.documents() if found == number)

    def bands(self, band: int) -> Hashes | None:
        """One band of every document's signature; None where none was made."""
        if not self._band_files:
            return None
        return np.fromfile(self.folder / f"{band}.bands", np.uint64)

    def text_words(self, first: int, last: int | None = None) -> Words:
        """The words of the texts of documents `first` to `last`, which is not included; of one document by default."""
        return self._words(0, first, first + 1 if last is None else last)

    def target_words(self, first: int, last: int | None = None) -> Words:
        """The words of the targets, as `text_words`."""
        return self._words(1, first, first + 1 if last is None else last)

    def _words(self, part: int, first: int, last: int) -> Words:
        begin, end = int(self.offsets[part][first]), int(self.offsets[part][last])
        return np.frombuffer(os.pread(self._word_files[part].fileno(), 4 * (end - begin), 4 * begin), np.uint32)

    def chunks(self, words: int) -> Iterator[tuple[int, int]]:
        """Runs of documents with so many words, targets counted: the first of each and, not included, the last."""
        total = self.offsets[0] + self.offsets[1]
        first = 0
        while first < self._count:
            last = max(first + 1, int(np.searchsorted(total, total[first] + words, side="right")) - 1)
            yield first, last
            first = last
