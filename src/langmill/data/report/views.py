"""What the page shows, made of what report.json says: rows of tables with the numbers that bars and words need."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from langmill.data.document import Split
from langmill.data.report.charts import bar
from langmill.data.report.label_groups import ranked
from langmill.data.report.markdown import Facts
from langmill.data.report.words import words

SPLITS = [split.value for split in Split]
_ROWS = 20  # of a table
_MIN_ROWS = 20  # of a source whose losses say something


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the waterfall."""

    name: str
    detail: str
    """What did it: a step of cleaning."""
    kind: str
    """Its colour's class; `total` for what came in and what is left."""
    rows: int | None
    num_bytes: int
    rows_bar: Markup
    bytes_bar: Markup


def waterfall(facts: Facts) -> list[Line]:
    """What came in, what each cause took of it, and what is left, in rows and in bytes."""
    num_bytes = facts["bytes"]
    lost: list[tuple[str, str, str, int | None, int]] = [
        (words(reason), "quarantined", "quarantined", count, num_bytes["quarantined_by_reason"].get(reason, 0))
        for reason, count in sorted(facts["quarantined"].items())
    ]
    for reason, count, steps in _drops(facts):
        detail = f"dropped by {steps}" if steps else "dropped"
        lost.append((words(reason), detail, "dropped", count, num_bytes["dropped"].get(reason, 0)))
    if removed := num_bytes["removed_by_cleaning"]:
        name = "taken out of documents" if removed > 0 else "put into documents"
        lost.append((name, "by cleaning", "removed", None, removed))
    if any(facts["undecided"].values()):
        lost.append(("not decided when it stopped", "", "quarantined", *facts["undecided"].values()))
    rows_in, bytes_in = facts["rows"], num_bytes["read"]
    widest_rows, widest_bytes = max(1, rows_in), max(1, bytes_in, num_bytes["kept"])
    lines = [
        Line(
            "read", "", "total", rows_in, bytes_in, bar(rows_in / widest_rows, "in"), bar(bytes_in / widest_bytes, "in")
        )
    ]
    rows_left, bytes_left = rows_in, bytes_in
    for name, detail, kind, rows, size in lost:
        rows_left -= rows or 0
        bytes_left -= size
        lines.append(
            Line(
                name,
                detail,
                kind,
                None if rows is None else -rows,
                -size,
                bar((rows or 0) / widest_rows, kind, rows_left / widest_rows),
                bar(abs(size) / widest_bytes, kind, min(bytes_left, bytes_left + size) / widest_bytes),
            )
        )
    kept = rows_left
    lines.append(
        Line(
            "kept",
            "",
            "total",
            kept,
            num_bytes["kept"],
            bar(kept / widest_rows, "kept"),
            bar(num_bytes["kept"] / widest_bytes, "kept"),
        )
    )
    return lines


def _drops(facts: Facts) -> list[tuple[str, int, str]]:
    """Reasons for which documents were dropped, with their count and the steps that did it, in the steps' order."""
    by_step: dict[str, list[str]] = {}
    for step in facts["steps"]:
        for reason in sorted(facts["cleaning"][step]["dropped"]):
            by_step.setdefault(reason, []).append(step)
    rest = [reason for reason in sorted(facts["dropped"]) if reason not in by_step]
    return [
        (reason, facts["dropped"][reason], ", ".join(by_step.get(reason, ())))
        for reason in (*by_step, *rest)
        if reason in facts["dropped"]
    ]


@dataclass(frozen=True, slots=True)
class Share:
    """A line of a table of shares."""

    name: str
    count: int
    share: float
    bar: Markup
    by_split: list[int]


def shares(facts: Facts, key: str, without: str = "") -> list[Share]:
    """Documents by label or language, the most common first.

    Args:
        facts: The report.
        key: `labels` or `languages`.
        without: What documents are called that have none; "" leaves these out.
    """
    splits = {name: Counter(facts["splits"][name][key]) for name in SPLITS}
    total = sum(splits.values(), Counter())
    values = [value for value, _ in sorted(total.items(), key=lambda item: (-item[1], item[0]))]
    lines: list[tuple[str, list[int]]] = [(value, [splits[name][value] for name in SPLITS]) for value in values[:_ROWS]]
    if len(values) > _ROWS:
        rest = values[_ROWS:]
        lines.append((f"{len(rest):,} others", [sum(splits[name][value] for value in rest) for name in SPLITS]))
    none = [facts["splits"][name].get("unlabelled", 0) for name in SPLITS]
    if without and any(none):
        lines.append((without, none))
    whole = max(1, facts["documents"])
    widest = max((sum(by_split) for _, by_split in lines), default=1)
    return [
        Share(value, sum(by_split), sum(by_split) / whole, bar(sum(by_split) / widest, "kept"), by_split)
        for value, by_split in lines
    ]


@dataclass(frozen=True, slots=True)
class Source:
    """A line of the table of sources."""

    name: str
    rows: int
    kept: int
    num_bytes: int
    kept_bytes: int
    survival: float
    """The share of its rows that were kept."""
    low: bool
    """Whether it lost far more than the corpus as a whole."""
    bar: Markup


def sources(facts: Facts) -> tuple[list[Source], int]:
    """The largest sources and, before them, those that lost the most; and how many are not shown."""
    survived = (facts["documents"] - facts["repeated"]["documents"]) / max(1, facts["rows"])
    found = []
    for name, count in facts["sources"].items():
        survival = count["kept"] / max(1, count["rows"])
        low = survival < survived / 2 and count["rows"] >= _MIN_ROWS
        kind = "dropped" if low else "kept"
        found.append(
            Source(
                name,
                count["rows"],
                count["kept"],
                count["bytes"],
                count["kept_bytes"],
                survival,
                low,
                bar(survival, kind),
            )
        )
    found.sort(key=lambda source: (not source.low, -source.rows, source.name))
    lowest = [source for source in found if source.low][: _ROWS // 2]
    rest = [source for source in found if source not in lowest][: _ROWS - len(lowest)]
    return [*lowest, *rest], len(found) - len(lowest) - len(rest)


@dataclass(frozen=True, slots=True)
class Step:
    """A line of the table of steps."""

    name: str
    changed: int
    bar: Markup
    """What it changed and, behind that, what it dropped."""
    dropped: int
    changes: list[tuple[str, int]]
    reasons: list[tuple[str, int]]
    loosest: int
    """Documents kept that it judged by the loosest thresholds of all languages."""
    samples: Mapping[str, Sequence[Mapping[str, Any]]]


def steps(facts: Facts) -> list[Step]:
    """What each step did, in their order."""
    read = max(1, facts["rows"] - sum(facts["quarantined"].values()))
    samples = facts["examples"].get("steps", {})
    return [
        Step(
            name,
            step["changed"],
            bar(step["changed"] / read, "removed", then=(sum(step["dropped"].values()) / read, "dropped")),
            sum(step["dropped"].values()),
            ranked(step["changes"]),
            ranked(step["dropped"]),
            facts.get("loosest", {}).get(name, 0),
            samples.get(name, {}),
        )
        for name in facts["steps"]
        for step in (facts["cleaning"][name],)
    ]


def counted(counts: Mapping[str, int], kind: str) -> list[tuple[str, int, Markup]]:
    """Counts with a bar each, the largest first."""
    largest = ranked(counts)[:_ROWS]
    widest = max((count for _, count in largest), default=1)
    return [(value, count, bar(count / widest, kind)) for value, count in largest]


def changes(counts: Mapping[str, int]) -> list[tuple[str, int, Markup]]:
    """What became of the documents of two versions: a name, how many, and a bar of their share of both."""
    kept = counts["before"] - counts["removed"] - counts["changed"]
    whole = max(1, kept + counts["added"] + counts["removed"] + counts["changed"])
    lines = [
        ("in both", kept, "kept"),
        ("added", counts["added"], "kept"),
        ("removed", counts["removed"], "dropped"),
        ("changed", counts["changed"], "removed"),
        ("in both, now in another split", counts["other_split"], "in"),
        ("in both, with other metadata", counts["other_metadata"], "in"),
    ]
    return [(name, count, bar(count / whole, kind)) for name, count, kind in lines]
