"""Small corpora as the cleaning stage leaves them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from langmill.config import sections
from langmill.data.contract.evidence import Evidence
from langmill.data.document import (
    DROPPED_NAME,
    PLACES_NAME,
    QUARANTINE_NAME,
    Document,
    Split,
    documents_path,
)
from langmill.files import write_json, write_manifest
from tests.documents import write_documents


def write_corpus(
    folder: Path, documents: Sequence[Document], report: dict[str, Any] | None = None, **left_out: list[dict[str, str]]
) -> Path:
    """Write a corpus whose documents are all in the train split but for the last two.

    Args:
        folder: Where to.
        documents: Three or more.
        report: What stands in report.json besides the numbers of documents.
        left_out: The rows of `dropped` and of `quarantine`.
    """
    parts = {Split.train: documents[:-2], Split.validation: documents[-2:-1], Split.test: documents[-1:]}
    places = []
    for split, those in parts.items():
        write_documents(documents_path(folder, split), those)
        places += [
            {"split": split.value, "id": each.id, "where": f"{split.value}.csv:{number}"}
            for number, each in enumerate(those, 2)
        ]
    pq.write_table(pa.Table.from_pylist(places), folder / PLACES_NAME)
    for name, table in (("dropped", DROPPED_NAME), ("quarantine", QUARANTINE_NAME)):
        if name in left_out:
            pq.write_table(pa.Table.from_pylist(left_out[name]), folder / table)
    write_json(
        folder / "report.json",
        {"documents": len(documents), "rows": len(documents), "quarantined": {}, "files": {}, **(report or {})},
    )
    write_manifest(folder, {"corpus": "tiny"})
    return folder


def evidence(folder: Path, reference: sections.Reference | None = None) -> Evidence:
    """The evidence of such a corpus."""
    return Evidence.of(folder, reference)


def labelled(count: int, **changed: Any) -> list[Document]:
    """Documents d0, d1, ... of 10 characters, half of them of each label; `d3={...}` changes fields of one."""
    made = []
    for number in range(count):
        values = {"text": f"text {number:05}", "label": ("bad", "good")[number % 2], "metadata": {"source": "web"}}
        made.append(Document(f"d{number}", **{**values, **changed.get(f"d{number}", {})}))
    return made
