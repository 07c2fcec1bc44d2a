"""Labels: what one is called, and a table of those that look alike, mean nothing, are rare or contradict each other."""

from __future__ import annotations

import functools
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from langmill.config.core_yaml import as_written
from langmill.data.cleaning.characters import clean_characters
from langmill.data.rows import is_text, shown
from langmill.errors import DataError

_NO_LABEL = frozenset({"", "nan", "null", "<na>"})  # what programs write for nothing, in small letters
_LIKE_NO_LABEL = _NO_LABEL | {
    "na", "n/a", "#n/a", "<null>", "(null)", "none", "nil", "undefined", "unknown", "missing", "-", "--", "?", ".",
    "\\n", "[]", "{}",
}  # fmt: skip
"""What people and programs write for nothing as well, but what can also be a class (`none`, of complaints)."""
_WHOLE_NUMBER = re.compile(r"([+-]?[0-9]{1,18})\.0+")
_QUOTES = "\"'`´‘’“”„«»"  # noqa: RUF001
_BETWEEN_WORDS = re.compile(r"[\s_-]+")
_DISTINCT = 10_000  # labels that are counted each; a field with more holds no classes
_NAMED = 5  # labels that a sentence names
_FEW_ROWS = 10
"""Rows of a label below which it is rare: of so few, a split may have none."""
_WRITTEN_CHARACTERS = 200


def label_of(value: object) -> str | None:
    """A raw value as a label: clean text, so that one class has one name; 1, 1.0 and "1.0" are the label 1.

    An empty cell, NaN, null and <NA> are none.
    """
    text = as_text(value)
    return None if text is None else _class_name(text)


@functools.lru_cache(2**12)
def _class_name(text: str) -> str | None:
    text = clean_characters(text)
    if text.casefold() in _NO_LABEL:
        return None
    number = _WHOLE_NUMBER.fullmatch(text)
    return str(int(number[1])) if number else text


def as_text(value: object) -> str | None:
    """A single value of a row as text; None for nothing, an empty cell included."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value).strip()
    return (text if is_text(text) else shown(text)) or None


def label_map(raw: Mapping[str, str | None]) -> dict[str, str | None]:
    """A corpus's `labels.map` by the labels as rows have them (`label_of`).

    Raises DataError where two of its keys are one label.
    """
    found: dict[str, str | None] = {}
    for key, name in raw.items():
        label = label_of(key)
        if label is None:
            raise DataError(
                f"labels.map has the key {as_written(key)}, which stands for no label; take it out.", "unknown"
            )
        if label in found:
            raise DataError(
                f"labels.map has the label {as_written(label)} twice, as {as_written(key)} too.", "duplicate"
            )
        found[label] = name
    return found


class LabelTable:
    """Counts labels as they are written while rows are read.

    Memory stays bounded: a field with more than 10,000 different values holds no classes, and further ones are only
    counted.

    Attributes:
        others: Rows whose value was not looked at for that.
    """

    def __init__(self) -> None:
        self._written: Counter[tuple[str, str | None]] = Counter()
        self._names: Counter[str] = Counter()
        self._unlabelled = 0
        self.others = 0
        self._contradictory: dict[str, Any] = {"groups": 0, "examples": []}

    def count(self, value: object, label: str | None, name: str | None) -> None:
        """Count a row's label.

        Args:
            value: What stands in the field.
            label: That as a label (`label_of`).
            name: What `labels.map` calls it; the label itself without a map, None where it is left out or unknown.
        """
        if value is None:
            self._unlabelled += 1
            return
        written = "NaN" if isinstance(value, float) and math.isnan(value) else str(value)
        if isinstance(value, bool):
            written = written.lower()
        key = (shown(written[:_WRITTEN_CHARACTERS]), label)
        if key not in self._written and len(self._written) >= _DISTINCT:
            self.others += 1
            return
        self._written[key] += 1
        self._unlabelled += label is None
        if name is not None:
            self._names[name] += 1

    def set_contradictions(self, groups: int, examples: Sequence[Mapping[str, Any]]) -> None:
        """Set how many groups of equal texts have different labels, and some of them; see `Contradictions`."""
        self._contradictory = {"groups": groups, "examples": [dict(example) for example in examples]}

    def as_json(self) -> dict[str, Any]:
        """The table, for `Report.set_labels`.

        Returns:
            `counts` (rows by label as it is named in the end, the most frequent first), `unlabelled` (rows without
            one), `look_alike` (groups of ways to write what looks like one label, each with its rows), `one_class`
            (for each of these groups whether it is read as one label already), `null_like` (ways to write nothing,
            with their rows), `taken_for_none` (those of them that are read as no label; the others are classes),
            `rare` (labels with fewer than 10 rows, with their rows), `others` (rows that came after 10,000 different
            labels), and `contradictory`: `groups` and `examples`, each with `text`, `labels` (documents by label) and
            `where`.
        """
        groups = self._look_alike()
        nothing = [(written, label) for written, label in self._written if _folded(written) in _LIKE_NO_LABEL]
        rows = Counter[str]()
        for (written, _), count in self._written.items():
            rows[written] += count
        return {
            "counts": dict(_ordered(self._names)),
            "unlabelled": self._unlabelled,
            "look_alike": [{written: rows[written] for written in group} for group, _ in groups],
            "one_class": [one for _, one in groups],
            "null_like": {written: rows[written] for written, _ in sorted(nothing, key=str)},
            "taken_for_none": sorted({written for written, label in nothing if label is None}),
            "rare": {name: count for name, count in _ordered(self._names) if count < _FEW_ROWS},
            "others": self.others,
            "contradictory": self._contradictory,
        }

    def warnings(self) -> list[str]:
        """What of it somebody should know before anything is trained, a sentence each."""
        table = self.as_json()
        apart = [group for group, one in zip(table["look_alike"], table["one_class"], strict=True) if not one]
        classes = {
            written: rows for written, rows in table["null_like"].items() if written not in table["taken_for_none"]
        }
        groups = table["contradictory"]["groups"]
        noun = "text has" if groups == 1 else "texts have"
        found = [
            apart
            and f"labels that look alike are different classes ({_counts(apart[0])}); labels.map gives them one name",
            classes
            and f"words for nothing are labels ({_counts(classes)}); labels.map leaves out what it maps to null",
            groups and f"{groups:,} {noun} several labels; the report shows some",
        ]
        return [str(sentence) for sentence in found if sentence]

    def _look_alike(self) -> list[tuple[list[str], bool]]:
        """Groups of ways to write what looks like one label, and whether each is one label already."""
        alike: dict[str, dict[str, set[str | None]]] = {}
        for written, label in self._written:
            if (key := _folded(written)) not in _LIKE_NO_LABEL:
                alike.setdefault(key, {}).setdefault(written, set()).add(label)
        return [
            (sorted(group), len(set().union(*group.values())) == 1)
            for _, group in sorted(alike.items())
            if len(group) > 1
        ]


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{as_written(written)}: {rows:,}" for written, rows in _ordered(counts)[:_NAMED])


def _ordered(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _folded(written: str) -> str:
    """What is alike in ways to write one label: case, width, accents' form, quotation marks, and how a number ends."""
    text = unicodedata.normalize("NFKC", written).strip().strip(_QUOTES).strip().casefold()
    if number := _WHOLE_NUMBER.fullmatch(text):
        text = number[1]
    return _BETWEEN_WORDS.sub(" ", text.removeprefix("+")).strip() or text
