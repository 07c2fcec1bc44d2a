"""What the report shows of single rows: quarantined ones, near duplicates beside their twins, what leaked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from langmill.data.cleaning.apply import DropReason
from langmill.data.document import Split, documents_path

_TWINS = 10
_A_REASON = 3  # quarantined rows
_CHARACTERS = 400
Shown = Callable[[str], str]
"""Makes a text fit to be shown (`step_samples.redaction`)."""


def quarantined(path: Path, shown: Shown) -> list[dict[str, str]]:
    """The first quarantined rows of each reason, by reason.

    Args:
        path: The table of quarantined rows, with the columns `where`, `reason` and `row`.
        shown: What a row goes through first.
    """
    found: list[dict[str, str]] = []
    seen: Counter[str] = Counter()
    for row in _rows(path):
        seen[row["reason"]] += 1
        if seen[row["reason"]] <= _A_REASON:
            found.append({"where": row["where"], "reason": row["reason"], "row": shown(row["row"])})
    return sorted(found, key=lambda row: row["reason"])


def near_duplicates(path: Path, documents: Path, shown: Shown) -> list[dict[str, Any]]:
    """Documents that were dropped for one that is nearly the same, each beside it; from the least to the most alike.

    Args:
        path: The table of dropped documents, with `where`, `reason`, `text`, `twin`, `similarity` and `containment`.
        documents: The folder of documents, where the twins are.
        shown: What a text goes through first.
    """
    rows = sorted(
        (row for row in _rows(path) if row["reason"] == DropReason.near_duplicate and row["twin"] is not None),
        key=lambda row: (row["similarity"], row["containment"], row["where"]),
    )
    step = max(1, (len(rows) - 1) / (_TWINS - 1))
    rows = [rows[round(number * step)] for number in range(min(_TWINS, len(rows)))]
    twins = texts_of({row["twin"] for row in rows}, documents)
    return [
        {
            "where": row["where"],
            "reason": row["reason"],
            "similarity": row["similarity"],
            "containment": row["containment"],
            "text": cut(shown(row["text"])),
            "twin": row["twin"],
            "twin_text": cut(shown(twins[row["twin"]])),
        }
        for row in rows
        if row["twin"] in twins
    ]


def leaked(examples: Iterable[Mapping[str, Any]], documents: Path, shown: Shown) -> list[dict[str, Any]]:
    """The examples of `Report.set_leakage` with the beginnings of the two texts."""
    examples = list(examples)
    texts = texts_of({example[side] for example in examples for side in ("test", "train")}, documents)
    return [
        {**example, **{f"{side}_text": cut(shown(texts.get(example[side], ""))) for side in ("test", "train")}}
        for example in examples
    ]


def texts_of(ids: Collection[str], documents: Path) -> dict[str, str]:
    """The texts of documents by their ids, of whichever split they are in."""
    wanted, found = pa.array(sorted(ids), pa.string()), dict[str, str]()
    for split in Split:
        if len(found) == len(ids):
            break
        path = documents_path(documents, split)
        if not path.is_file():  # the stage stopped before it was written
            continue
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=2000, columns=["id", "text"]):
                chosen = batch.filter(pc.is_in(batch["id"], wanted))
                found.update(zip(chosen["id"].to_pylist(), chosen["text"].to_pylist(), strict=True))
    return found


def cut(text: str) -> str:
    """The beginning of a text."""
    return text if len(text) <= _CHARACTERS else f"{text[:_CHARACTERS]}…"


def _rows(path: Path) -> Iterable[dict[str, Any]]:
    if not path.is_file():
        return
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=2000):
            yield from batch.to_pylist()
