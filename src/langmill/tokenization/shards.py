"""Token shards: a recipe's tokens as flat files that training maps into memory.

A folder holds for each split `{split}.tokens`, every sequence's parts followed by one end-of-text token, as
little-endian unsigned integers, and `{split}.index.parquet`, one row per sequence. Of most tasks a sequence is a
document; a task may join several, or divide a long one. Both are streamed to the disk, and the tokens are
memory-mapped, so neither the corpus nor its tokens have to fit into memory.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from langmill.errors import IntegrityError
from langmill.files import MANIFEST_NAME, explained_os_errors, read_manifest, sha256_file

INDEX_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("start", pa.int64(), nullable=False),  # index of the sequence's first token
        pa.field("part_lengths", pa.list_(pa.field("item", pa.int32(), nullable=False)), nullable=False),
        pa.field("num_bytes", pa.int64(), nullable=False),  # UTF-8, of all parts
        pa.field("label", pa.string()),
    ]
)
_ROWS = 10_000  # sequences in a row group of the index


@dataclass(frozen=True, slots=True)
class EncodedDocument:
    """What a task makes of a document, or of several: a sequence, to be written to a shard."""

    id: str
    parts: list[np.ndarray]
    """Token ids of each part, `(tokens,)`."""
    num_bytes: int
    """UTF-8 bytes of all parts."""
    label: str | None
    truncated: frozenset[str] = frozenset()
    """What of it did not fit and was left out, by the task's own names."""


@dataclass(frozen=True, slots=True)
class ShardSize:
    """The size of a shard."""

    sequences: int
    tokens: int
    """End-of-text tokens included."""
    bytes: int
    """UTF-8 bytes of the text."""


def tokens_path(folder: Path, split: str) -> Path:
    """Path of a split's tokens."""
    return folder / f"{split}.tokens"


def index_path(folder: Path, split: str) -> Path:
    """Path of a split's index."""
    return folder / f"{split}.index.parquet"


def write_shard(
    folder: Path, split: str, documents: Iterable[EncodedDocument], eot_id: int, dtype: np.dtype[Any]
) -> ShardSize:
    """Write one split, a sequence at a time; equal ones give equal bytes.

    Args:
        folder: An existing folder.
        split: The split.
        documents: The encoded documents, in order.
        eot_id: The token that ends every sequence.
        dtype: `<u2` or `<u4`.

    Raises:
        SpaceError: The disk is full.
    """
    eot = np.array([eot_id], dtype=dtype).tobytes()
    count = tokens = size = 0
    rows: list[dict[str, Any]] = []
    path = tokens_path(folder, split)
    with (
        explained_os_errors(path),
        path.open("wb") as file,
        pq.ParquetWriter(index_path(folder, split), INDEX_SCHEMA, compression="zstd") as index,
    ):
        for document in documents:
            lengths = [len(part) for part in document.parts]
            rows.append(
                {
                    "id": document.id,
                    "start": tokens,
                    "part_lengths": lengths,
                    "num_bytes": document.num_bytes,
                    "label": document.label,
                }
            )
            for part in document.parts:
                file.write(np.asarray(part, dtype=dtype).tobytes())
            file.write(eot)
            count, tokens, size = count + 1, tokens + sum(lengths) + 1, size + document.num_bytes
            if len(rows) == _ROWS:
                index.write_table(pa.Table.from_pylist(rows, schema=INDEX_SCHEMA))
                rows.clear()
        if rows or not count:
            index.write_table(pa.Table.from_pylist(rows, schema=INDEX_SCHEMA))
    return ShardSize(count, tokens, size)


def shard_facts(folder: Path) -> dict[str, Any]:
    """Read the manifest of a folder of shards: dtype, vocab_size, eot_id, labels, splits, digests.

    Raises IntegrityError where the folder is not a finished result.
    """
    return read_manifest(folder, verify=False)


class Shard:
    """One split of a recipe's tokens, mapped into memory.

    Attributes:
        tokens: Every document's tokens, each followed by end-of-text, `(num_tokens,)`.
        num_documents: Documents that the sequences are of.
        index: One row per sequence, in order.
        starts: Index of each sequence's first token, `(num_sequences,)` int64.
        lengths: Tokens of each sequence without its end-of-text, `(num_sequences,)` int64.
        labels: Each sequence's label.
        vocab_size: Entries of the vocabulary.
        special_ids: The id of every special token, by its name.
    """

    def __init__(self, tokens: np.ndarray, index: pa.Table, facts: Mapping[str, Any], num_documents: int) -> None:
        self.tokens = tokens
        self.num_documents = num_documents
        self.vocab_size = int(facts.get("vocab_size", 0))
        self.special_ids: dict[str, int] = dict(facts.get("special_ids", {}))
        self.index = index
        self.starts = index.column("start").to_numpy().astype(np.int64)
        ends = np.append(self.starts[1:], len(tokens)).astype(np.int64)
        self.lengths = ends - self.starts - 1
        self.labels: list[str | None] = index.column("label").to_pylist()

    @classmethod
    def open(cls, folder: Path, split: str) -> Shard:
        """Map a split that the encode stage wrote into memory, once its bytes are known to be the manifest's.

        Raises IntegrityError where a file is missing or damaged, or tokens and index do not match.
        """
        facts = shard_facts(folder)
        path = tokens_path(folder, split)
        dtype = np.dtype(facts["dtype"])
        promised = facts["splits"][split]
        try:
            size = path.stat().st_size
            # An empty file can't be mapped.
            tokens = np.memmap(path, dtype=dtype, mode="r") if size else np.zeros(0, dtype=dtype)
            index = pq.read_table(index_path(folder, split), schema=INDEX_SCHEMA)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise IntegrityError(f"The {split} tokens in {folder} can't be read ({error}); make them again.") from error
        num_sequences = promised.get("sequences", promised["documents"])
        if len(tokens) != promised["tokens"] or index.num_rows != num_sequences:
            raise IntegrityError(
                f"{path} holds {len(tokens)} tokens of {index.num_rows} sequences, but its manifest promises "
                f"{promised['tokens']} of {num_sequences}; make the folder again."
            )
        for file in (path, index_path(folder, split)):
            if _digest_once(file) != facts["files"].get(file.name):
                raise IntegrityError(
                    f"{file} is damaged: its bytes are not those that {MANIFEST_NAME} beside it promises. Remove "
                    f"{folder} and its copy in DVC's cache, and make it again with `dvc repro`."
                )
        return cls(tokens, index, facts, promised["documents"])

    @property
    def num_sequences(self) -> int:
        """Sequences in the split: of most tasks, one a document."""
        return int(self.index.num_rows)

    @property
    def num_tokens(self) -> int:
        """Tokens in the split, end-of-text tokens included."""
        return len(self.tokens)

    @property
    def num_bytes(self) -> int:
        """UTF-8 bytes of the split's text."""
        return int(self.index.column("num_bytes").to_numpy().sum())

    def parts(self, number: int) -> list[np.ndarray]:
        """The tokens of each part of a sequence, without end-of-text.

        Args:
            number: The sequence's row in the index.
        """
        lengths = self.index.column("part_lengths")[number].as_py()
        bounds = np.cumsum([self.starts[number], *lengths])
        return [self.tokens[start:end] for start, end in itertools.pairwise(bounds)]

    def part_lengths(self, parts: int) -> np.ndarray:
        """Tokens of each part of every sequence, `(num_sequences, parts)` int64.

        Args:
            parts: Parts that every sequence has.

        Raises:
            IntegrityError: A sequence has another number of parts: the tokens were made for another task.
        """
        column = self.index.column("part_lengths").combine_chunks()
        flat: np.ndarray = column.flatten().to_numpy().astype(np.int64)
        counts = np.diff(column.offsets.to_numpy())
        if not (counts == parts).all():
            raise IntegrityError(
                f"The tokens hold sequences of {sorted(set(counts.tolist()))} parts where {parts} are needed; "
                "make them again with `dvc repro`."
            )
        return flat.reshape(-1, parts)


def _digest_once(path: Path) -> str:
    """The SHA-256 of a file, computed once in a process, as long as the file stays as it is."""
    found = path.stat()
    return _digest(path.absolute(), found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _digest(path: Path, *_identity: int) -> str:
    return sha256_file(path)
