"""What is to be looked at among the labels of a corpus: look-alikes, words for nothing, rare ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LISTED = 20  # labels of a kind


def label_groups(facts: Mapping[str, Any]) -> list[tuple[str, list[list[tuple[str, int]]]]]:
    """A title, and groups of ways to write a label, with their rows; only what there is."""
    table = facts["labels"] or {}
    alike, one_class = table.get("look_alike", []), table.get("one_class", [])
    none, taken = table.get("null_like", {}), set(table.get("taken_for_none", []))
    groups = [
        ("Look alike and are different labels; labels.map makes them one", split_labels(facts)),
        ("Look alike and are read as one label", [each for each, one in zip(alike, one_class, strict=False) if one]),
        (
            "Look like no label and are labels; labels.map can say so",
            [{n: c} for n, c in none.items() if n not in taken],
        ),
        ("Read as no label", [{name: count} for name, count in none.items() if name in taken]),
        ("Rare", [{name: count} for name, count in ranked(table.get("rare", {}))]),
    ]
    return [(title, [ranked(group) for group in those[:_LISTED]]) for title, those in groups if those]


def split_labels(facts: Mapping[str, Any]) -> list[Mapping[str, int]]:
    """Groups of labels that look like one and are several."""
    table = facts["labels"] or {}
    return [each for each, one in zip(table.get("look_alike", []), table.get("one_class", []), strict=False) if not one]


def ranked(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Counts, the largest first."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
