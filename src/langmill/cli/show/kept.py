"""Documents of a corpus as they were kept, and those that were dropped, from build/documents/."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from langmill.data.document import (
    DROPPED_NAME,
    PLACES_NAME,
    QUARANTINE_NAME,
    REPORT_NAME,
    Document,
    Split,
    count_documents,
    documents_path,
    read_documents,
)
from langmill.data.parquet import parquet_file
from langmill.errors import DataError
from langmill.files import read_json
from langmill.workspace import Workspace

_TWINS = 5  # dropped documents that are shown of those that lost to one


def read_report(folder: Path, corpus: str) -> dict[str, Any]:
    """The data report of a corpus. Raises DataError where the corpus has not been cleaned."""
    if not (folder / REPORT_NAME).is_file():
        failed = Workspace().failed(f"clean@{corpus}")
        if (failed / REPORT_NAME).is_file():
            raise DataError(
                f"{folder} does not exist, since cleaning stopped: {failed} has what was read and left out (report.md, "
                f"{QUARANTINE_NAME}, {DROPPED_NAME}). `dvc repro clean@{corpus}` tries again.",
                "missing",
            )
        raise DataError(f"{folder} does not exist; `dvc repro clean@{corpus}` makes it.", "missing")
    report: dict[str, Any] = read_json(folder / REPORT_NAME)
    return report


def sampled(folder: Path, count: int, seed: int) -> list[tuple[str, Document]]:
    """Some documents with their splits, each as likely as any other, in the corpus's order."""
    sizes = {split: count_documents(documents_path(folder, split)) for split in Split}
    chosen = _chosen(sum(sizes.values()), count, seed)
    found: list[tuple[str, Document]] = []
    start = 0
    for split, size in sizes.items():
        wanted = [number - start for number in chosen if start <= number < start + size]
        found += [(split.value, document) for document in _numbered(documents_path(folder, split), wanted)]
        start += size
    return found


def _chosen(total: int, count: int, seed: int) -> list[int]:
    """Some of so many numbers, in their order."""
    return sorted(map(int, np.random.default_rng(seed).choice(total, min(count, total), replace=False)))


def _numbered(path: Path, numbers: Sequence[int]) -> Iterator[Document]:
    wanted = iter(numbers)
    number = next(wanted, None)
    for at, document in enumerate(read_documents(path) if number is not None else ()):
        if at == number:
            yield document
            number = next(wanted, None)
            if number is None:
                return


def with_ids(folder: Path, ids: Iterable[str]) -> dict[str, tuple[str, Document]]:
    """Documents by their ids, each with its split; those that there are not are left out."""
    wanted, found = set(ids), dict[str, tuple[str, Document]]()
    for split in Split:
        path = documents_path(folder, split)
        names = pq.read_table(path, columns=["id"]).column("id")
        numbers = [
            at for at, known in enumerate(pc.is_in(names, pa.array(sorted(wanted), pa.string())).to_pylist()) if known
        ]
        found |= {document.id: (split.value, document) for document in _numbered(path, numbers)}
    return found


def ids_beginning(folder: Path, prefix: str) -> list[str]:
    """The ids that begin so."""
    tables = (pq.read_table(documents_path(folder, split), columns=["id"]).column("id") for split in Split)
    return [name for names in tables for name in names.filter(pc.starts_with(names, prefix)).to_pylist()]


def place_of(folder: Path, name: str) -> str | None:
    """Where the row of a document stands, by its id."""
    return places_of(folder, [name]).get(name)


def places_of(folder: Path, names: Collection[str]) -> dict[str, str]:
    """Where the rows of documents stand, by their ids."""
    return {row["id"]: row["where"] for row in _rows(folder / PLACES_NAME, "id", *names)}


def id_at(folder: Path, where: str) -> str | None:
    """The id of the document whose row stands in a place."""
    return next((row["id"] for row in _rows(folder / PLACES_NAME, "where", where)), None)


def quarantined_at(folder: Path, where: str) -> dict[str, Any] | None:
    """The quarantined row that stands in a place."""
    return next(_rows(folder / QUARANTINE_NAME, "where", where), None)


def dropped_at(folder: Path, where: str) -> dict[str, Any] | None:
    """The dropped document whose row stands in a place; not each is kept (`dropped.parquet`)."""
    return next(_rows(_dropped(folder), "where", where), None)


def lost_to(folder: Path, name: str) -> list[dict[str, Any]]:
    """Some of the dropped documents that lost to one, by its id."""
    return list(_rows(_dropped(folder), "twin", name))[:_TWINS]


def dropped_for(folder: Path, reason: str, count: int, seed: int) -> list[dict[str, Any]]:
    """Some of the documents that were dropped for a reason."""
    rows = list(_rows(_dropped(folder), "reason", reason))
    chosen = _chosen(len(rows), count, seed)
    return [rows[number] for number in chosen]


def quarantined_for(folder: Path, reason: str, count: int, seed: int) -> list[dict[str, Any]]:
    """Some of the rows that were quarantined for a reason."""
    rows = list(_rows(folder / QUARANTINE_NAME, "reason", reason))
    return [rows[number] for number in _chosen(len(rows), count, seed)]


def _dropped(folder: Path) -> Path:
    path = folder / DROPPED_NAME
    if not path.is_file():
        raise DataError(
            f"{path} does not exist: these documents were made by an earlier version; `dvc repro --force "
            f"clean@{folder.name}` makes them again.",
            "missing",
        )
    return path


def _rows(path: Path, column: str, *values: str) -> Iterator[dict[str, Any]]:
    """The rows of a table whose column has one of some values."""
    wanted = pa.array(values, pa.string())
    for batch in parquet_file(path).iter_batches():
        yield from batch.filter(pc.is_in(batch.column(column), wanted)).to_pylist()
