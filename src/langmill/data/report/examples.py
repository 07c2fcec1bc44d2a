"""What the report shows of single rows: quarantined ones, near duplicates beside their twins, what leaked."""

from __future__ import annotations

import difflib
import itertools
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from langmill.data.cleaning.apply import DropReason
from langmill.data.document import Split, documents_path
from langmill.data.parquet import parquet_file

_TWINS = 10
_A_REASON = 3  # quarantined rows
_CHARACTERS = 400
_BEFORE = 80  # characters shown before what two texts share
_WORD = re.compile(r"\w+")
_WORDS = 2000  # of a text that are looked through for what it shares
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
    """The examples of `Report.set_leakage` with the parts of the two texts around the longest one that both have."""
    examples = list(examples)
    texts = texts_of({example[side] for example in examples for side in ("test", "train")}, documents, targets=True)
    found = []
    for example in examples:
        test, train = (shown(texts.get(example[side], "")) for side in ("test", "train"))
        ours, theirs = longest_shared(test, train)
        texts_found = {"test_text": around(test, ours), "train_text": around(train, theirs)}
        shared = {"test_shared": test[slice(*ours)], "train_shared": train[slice(*theirs)]}
        found.append({**example, **texts_found, **shared})
    return found


def longest_shared(one: str, other: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where in each of two texts the longest run of words is that both have; (0, 0) for none."""
    words = [list(itertools.islice(_WORD.finditer(text), _WORDS)) for text in (one, other)]
    ours, theirs = ([word[0].casefold() for word in side] for side in words)
    match = difflib.SequenceMatcher(None, ours, theirs, autojunk=False).find_longest_match()
    if not match.size:
        return (0, 0), (0, 0)
    begins = match.a, match.b
    first, second = (
        (side[begin].start(), side[begin + match.size - 1].end()) for side, begin in zip(words, begins, strict=True)
    )
    return first, second


def around(text: str, span: tuple[int, int]) -> str:
    """The part of a text around a place in it."""
    start = max(0, span[0] - _BEFORE)
    end = min(len(text), start + _CHARACTERS)
    return f"{'…' * (start > 0)}{text[start:end]}{'…' * (end < len(text))}"


def texts_of(ids: Collection[str], documents: Path, *, targets: bool = False) -> dict[str, str]:
    """The texts of documents by their ids, of whichever split they are in; with their targets on a line below."""
    wanted, found = pa.array(sorted(ids), pa.string()), dict[str, str]()
    for split in Split:
        if len(found) == len(ids):
            break
        path = documents_path(documents, split)
        if not path.is_file():  # the stage stopped before it was written
            continue
        with parquet_file(path) as file:
            for batch in file.iter_batches(batch_size=2000, columns=["id", "text", "target"]):
                for row in batch.filter(pc.is_in(batch["id"], wanted)).to_pylist():
                    both = targets and row["target"] is not None
                    found[row["id"]] = f"{row['text']}\n→ {row['target']}" if both else row["text"]
    return found


def cut(text: str) -> str:
    """The beginning of a text."""
    return text if len(text) <= _CHARACTERS else f"{text[:_CHARACTERS]}…"


def _rows(path: Path) -> Iterable[dict[str, Any]]:
    if not path.is_file():
        return
    with parquet_file(path) as file:
        for batch in file.iter_batches(batch_size=2000):
            yield from batch.to_pylist()
