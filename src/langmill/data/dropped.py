"""A sample of the documents that were left out of a corpus, each with its reason and its twin: dropped.parquet."""

from __future__ import annotations

import hashlib
import heapq
from pathlib import Path
from typing import NamedTuple, Self

import pyarrow as pa
import pyarrow.parquet as pq

from langmill.data.document import Split
from langmill.errors import DataError

_MOST = 500
"""Documents kept of each reason; the report has the counts of all."""
_CHARACTERS = 2000
"""Characters kept of a text and of a target."""
_SEED = b"dropped"
SCHEMA = pa.schema(
    [
        pa.field("where", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("step", pa.string()),
        pa.field("split", pa.string()),
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("target", pa.large_string()),
        pa.field("twin", pa.string()),
        pa.field("similarity", pa.float64()),
        pa.field("containment", pa.float64()),
        pa.field("score", pa.float64()),
        pa.field("detail", pa.string()),
    ]
)


class Dropped(NamedTuple):
    """A document that was left out."""

    where: str
    """Its row's place."""
    reason: str
    step: str | None
    """The step of cleaning that dropped it, if one did."""
    split: Split | None
    """Where it would be; None for one of which nothing is left."""
    text: str
    target: str | None
    twin: str | None = None
    """The id of the document that was kept in its place."""
    similarity: float | None = None
    """Of the n-grams of the two, the share that both have (Jaccard)."""
    containment: float | None = None
    """Of the n-grams of the one that has fewer, the share that the other has too."""
    score: float | None = None
    """What the step that dropped it measured, if it says."""
    detail: str | None = None
    """What that step took it for, if it says: a language."""


class DroppedSample:
    """Keeps a random choice of each reason's documents, the same one whatever their order; written at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._heaps: dict[str, list[tuple[int, Dropped]]] = {}

    def add(self, document: Dropped) -> None:
        """Keep a document, or one that was kept before it, or not."""
        name = f"{document.where}\0{document.text[:_CHARACTERS]}".encode()
        draw = -int.from_bytes(hashlib.blake2b(name, digest_size=8, key=_SEED).digest())
        heap = self._heaps.setdefault(document.reason, [])
        if len(heap) == _MOST and draw < heap[0][0]:
            return
        target = None if document.target is None else document.target[:_CHARACTERS]
        shown = document._replace(text=document.text[:_CHARACTERS], target=target)
        if len(heap) < _MOST:
            heapq.heappush(heap, (draw, shown))
        else:
            heapq.heapreplace(heap, (draw, shown))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or issubclass(kind, DataError):
            rows = [one for reason in sorted(self._heaps) for _, one in sorted(self._heaps[reason], reverse=True)]
            columns = list(zip(*rows, strict=True)) or [()] * len(SCHEMA)
            arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
            pq.write_table(pa.Table.from_arrays(arrays, schema=SCHEMA), self._path, compression="zstd")
