"""What the labels of a corpus look like before anything learns from them: names that mean one thing, or none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

_DISTINCT = 10_000  # labels that are counted each; a field with more holds no classes
_EXAMPLES = 5
_EXAMPLE_CHARACTERS = 200


class LabelTable:
    """Counts labels while rows are read, and documents that contradict each other while duplicates are found.

    Attributes:
        labels: Rows by label, after `labels.map`, and in `None` those without one.
        contradictory: Groups of equal texts with different labels.
    """

    def __init__(self) -> None:
        self.labels: Counter[str | None] = Counter()
        self.contradictory = 0
        self._examples: list[dict[str, Any]] = []

    def count_contradiction(self, text: str, labels: Sequence[str], where: Iterable[str] = ()) -> None:
        """Count a group of equal texts whose labels differ.

        Args:
            text: One of the texts.
            labels: The labels of all of them, one a document.
            where: Where their rows stand, for people.
        """
        self.contradictory += 1
        if len(self._examples) < _EXAMPLES:
            self._examples.append(
                {
                    "text": text[:_EXAMPLE_CHARACTERS],
                    "labels": dict(sorted(Counter(labels).items())),
                    "where": list(where)[:_EXAMPLES],
                }
            )

    def as_json(self) -> dict[str, Any]:
        """The table, for `Report.set_labels`.

        Returns:
            `counts` (rows by label), `unlabelled` (rows without one), `look_alike` (lists of labels that differ in
            case, quotation marks or notation only, each with its count), `null_like` (labels that are a program's word
            for nothing), `rare` (labels with few rows), and `contradictory`: `groups` and `examples`, each with
            `text`, `labels` (documents by label) and `where`.
        """
        return {
            "counts": {label: count for label, count in self.labels.items() if label is not None},
            "unlabelled": self.labels[None],
            "look_alike": [],
            "null_like": {},
            "rare": {},
            "contradictory": {"groups": self.contradictory, "examples": self._examples},
        }
