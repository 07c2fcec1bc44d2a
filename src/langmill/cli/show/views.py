"""What `langmill show` tells, as plain values: the same for a reader and for `--json`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from langmill.cli.show.kept import (
    dropped_at,
    dropped_for,
    id_at,
    ids_beginning,
    lost_to,
    place_of,
    places_of,
    quarantined_at,
    quarantined_for,
    read_report,
    sampled,
    with_ids,
)
from langmill.cli.show.replay import Passed, Replay
from langmill.data.cleaning.base import Dropped
from langmill.data.document import Document
from langmill.data.rows import Row
from langmill.errors import DataError
from langmill.workspace import Workspace


def documents_view(corpus: str, count: int, seed: int) -> dict[str, Any]:
    """Some documents, and a line of counts."""
    folder = Workspace().documents(corpus)
    report = read_report(folder, corpus)
    return {
        "corpus": corpus,
        "rows": report["rows"],
        "documents": {name: split["documents"] for name, split in report["splits"].items()},
        "quarantined": report["quarantined"],
        "dropped": report["dropped"],
        "shown": [{"split": split, **_told(document)} for split, document in sampled(folder, count, seed)],
    }


def _told(document: Document) -> dict[str, Any]:
    return {
        "id": document.id,
        "label": document.label,
        "text": document.text,
        "target": document.target,
        "metadata": document.metadata,
    }


def dropped_view(corpus: str, reason: str, count: int, seed: int) -> dict[str, Any]:
    """Some documents that were dropped for a reason, each beside the one it lost to; or rows that were quarantined.

    Raises DataError where none was; the message has the reasons that there are.
    """
    folder = Workspace().documents(corpus)
    report = read_report(folder, corpus)
    reasons: dict[str, int] = report["dropped"]
    name = reason.replace(" ", "_").replace("-", "_")
    if name in report["quarantined"]:
        count_of, rows = report["quarantined"][name], quarantined_for(folder, name, count, seed)
        return {"corpus": corpus, "reason": name, "quarantined": count_of, "shown": rows}
    if name not in reasons:
        every = {**report["quarantined"], **reasons}
        known = ", ".join(f"{one} ({number:,})" for one, number in sorted(every.items()))
        raise DataError(
            f"Nothing of {corpus} was dropped or quarantined for {reason}; "
            + (f"the reasons are {known}." if known else "nothing was left out at all."),
            "unknown",
        )
    rows = dropped_for(folder, name, count, seed)
    twins = with_ids(folder, {row["twin"] for row in rows if row["twin"]})
    places = places_of(folder, set(twins))
    for row in rows:
        split, twin = twins.get(row["twin"], (None, None))
        row["kept"] = None if twin is None else {"split": split, "where": places.get(twin.id), **_told(twin)}
    return {"corpus": corpus, "reason": name, "documents": reasons[name], "shown": rows}


def why_view(corpus: str, asked: str) -> dict[str, Any]:
    """What became of one row or document.

    Args:
        corpus: Its corpus.
        asked: The document's id or the beginning of it, or the place of the row (`reviews.csv:12`).

    Raises:
        DataError: There is no such document, or more than one.
    """
    folder = Workspace().documents(corpus)
    read_report(folder, corpus)
    replay = Replay(corpus)
    name = id_at(folder, asked) if ":" in asked else _only(folder, corpus, asked)
    where = asked if name is None else place_of(folder, name)
    row = None if where is None else replay.row_at(where)
    if name is None and row is None:
        raise DataError(f"No raw file of {corpus} has a row {asked}, and no document that id.", "unknown")
    steps = replay.through(row) if isinstance(row, Row) else []
    view: dict[str, Any] = {
        "corpus": corpus,
        "id": name,
        "where": where,
        "raw": {"text": row.text, "target": row.target} if isinstance(row, Row) else None,
        "steps": [_step(passed) for passed in steps],
    }
    if name is not None:
        split, document = with_ids(folder, {name})[name]
        return view | {"split": split, "document": _told(document), "replaced": lost_to(folder, name)}
    return view | {"quarantined": quarantined_at(folder, asked), "dropped": _dropped(folder, asked, steps)}


def _only(folder: Path, corpus: str, asked: str) -> str:
    found = ids_beginning(folder, asked)
    if len(found) == 1 or asked in found:
        return asked if asked in found else found[0]
    if found:
        shown = f"{found[0]}, {found[1]}"
        raise DataError(f"{len(found):,} ids of {corpus} begin {asked}: {shown}; give more of it.", "duplicate")
    raise DataError(
        f"No document of {corpus} has the id {asked}; one that was dropped has none, and is asked for by its place, as "
        "in file.csv:12.",
        "unknown",
    )


def _dropped(folder: Path, where: str, steps: list[Passed]) -> dict[str, Any] | None:
    """Why a row is no document: as it was noted, or as the steps say now."""
    if (noted := dropped_at(folder, where)) is not None:
        twin = noted["twin"]
        return noted | {"kept": place_of(folder, twin) if twin else None}
    if steps and isinstance(after := steps[-1].after, Dropped):
        return {**dataclasses.asdict(after), "step": steps[-1].step, "twin": None}
    return None


def _step(passed: Passed) -> dict[str, Any]:
    after = passed.after
    told: dict[str, Any]
    if isinstance(after, Dropped):
        told = {"score": after.score, "detail": after.detail}
        return {"step": passed.step, "dropped": after.reason, **told, **_texts(passed, None)}
    told = {"step": passed.step, "changed": passed.changed, "changes": list(after.changes)}
    return told | _texts(passed, after) if passed.changed else told


def _texts(passed: Passed, after: Any) -> dict[str, Any]:
    before = passed.before.metadata
    noted = {} if after is None else {key: value for key, value in after.metadata.items() if before.get(key) != value}
    return {
        "noted": noted,
        "before": {"text": passed.before.text, "target": passed.before.target},
        "after": None if after is None else {"text": after.text, "target": after.target},
    }


def step_view(corpus: str, name: str, count: int, seed: int) -> dict[str, Any]:
    """Some documents before and after a step."""
    report = read_report(Workspace().documents(corpus), corpus)
    sample = Replay(corpus).sample(name, count, seed, report["rows"])
    return {
        "corpus": corpus,
        "step": name,
        "rows": sample.rows,
        "complete": sample.complete,
        "seen": sample.seen,
        "changed": sample.changed,
        "dropped": sample.dropped,
        "shown": [{"where": where, **_step(passed)} for where, passed in sample.passed],
    }
