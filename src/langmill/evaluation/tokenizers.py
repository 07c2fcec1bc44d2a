"""Vocabularies of one corpus side by side: the texts they are measured on, the table and the plot."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from langmill.data.document import Document, Split, count_documents, documents_path, read_documents
from langmill.evaluation.plots import draw_rows
from langmill.files import atomic_file, read_manifest, write_json
from langmill.tokenization.measures import Measures

_MEASURED_SHARE = 10  # of the documents that are learned from, one in so many


@dataclass(frozen=True)
class Texts:
    """What vocabularies are compared on."""

    train: list[str]
    validation: list[str]


@dataclass(frozen=True)
class Entry:
    """One vocabulary and its numbers."""

    name: str
    algorithm: str
    entries: int
    losses: tuple[str, ...]
    """What it loses of a text, in words."""
    learned_seconds: float
    """Processor time."""
    measures: Measures
    bits_per_byte: float | None = None
    """Of the small network; None where none was trained."""
    trained_steps: int = 0
    trained_megabytes: float = 0.0
    """Text that it read, repetitions counted."""


def draw_texts(documents: Path, most: int, seed: int) -> Texts:
    """Draw training and validation texts of a corpus: both texts of a pair, as a vocabulary is learned from them.

    Raises IntegrityError where the corpus's folder is not a finished result, or is damaged.
    """
    read_manifest(documents, verify=True)
    drawn = {
        split: _drawn(documents_path(documents, split), count, seed)
        for split, count in ((Split.train, most), (Split.validation, max(1, most // _MEASURED_SHARE)))
    }
    return Texts(drawn[Split.train], drawn[Split.validation])


def _drawn(path: Path, most: int, seed: int) -> list[str]:
    total = count_documents(path)
    chosen = set(np.random.default_rng(seed).permutation(total)[:most].tolist())
    return [_text(document) for number, document in enumerate(read_documents(path)) if number in chosen]


def _text(document: Document) -> str:
    return document.text if document.target is None else f"{document.text}\n{document.target}"


def write_entries(entries: Sequence[Entry], folder: Path) -> None:
    """Write `tokenizers.json`, `tokenizers.csv` and `tokenizers.png`."""
    rows = [_row(entry) for entry in entries]
    write_json(folder / "tokenizers.json", rows)
    with atomic_file(folder / "tokenizers.csv", "w") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "losses": ", ".join(row["losses"])} for row in rows)
    panels = {
        "bytes per token": [entry.measures.bytes_per_token for entry in entries],
        "MB/s, encoding on one thread": [entry.measures.megabytes_per_second for entry in entries],
    }
    if bits := [entry.bits_per_byte for entry in entries if entry.bits_per_byte is not None]:
        panels["bits per byte, at equal time"] = bits
    hollow = {number: "loses some of the text" for number, entry in enumerate(entries) if entry.losses}
    draw_rows([entry.name for entry in entries], panels, hollow, folder / "tokenizers.png")


def _row(entry: Entry) -> dict[str, Any]:
    values = asdict(entry)
    values |= values.pop("measures")
    return {**values, "losses": list(entry.losses)}
