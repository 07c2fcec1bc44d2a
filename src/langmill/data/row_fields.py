"""From a raw row's named values to a `Row`: which field is what."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from langmill.config.sections import Fields
from langmill.data.labels import LabelTable, as_text, label_of
from langmill.data.rows import BadRowReason, Row, Unreadable, Values, is_text


def row_of(
    where: str, values: Values, fields: Fields, names: Mapping[str, str | None], table: LabelTable | None = None
) -> Row:
    """A row of named values.

    Args:
        where: Its place.
        values: What it holds.
        fields: Which field is what.
        names: What the labels are called (`labels.label_map`); empty takes them as they are.
        table: Counts the label as it is written.

    Raises:
        Unreadable: It has no text, a field of another type, or a label that has no name or is left out.
    """
    text = _present(values.get(fields.text))
    if text is None:
        raise Unreadable(BadRowReason.missing_text, _compact(values))
    target = _present(values.get(fields.target)) if fields.target else None
    if isinstance(target, list) and all(isinstance(line, str) for line in target):
        target = _present("\n".join(target)) if target else None
    if isinstance(target, int | float):
        target = as_text(target)
    if not isinstance(text, str) or not isinstance(target, str | None):
        raise Unreadable(BadRowReason.wrong_type, _compact(values))
    label = _named_label(values, fields.label, names, table) if fields.label else None
    metadata = {name: _as_text(values.get(name)) or "" for name in fields.metadata}
    return Row(where, text, label, target, metadata)


def _named_label(values: Values, field: str, names: Mapping[str, str | None], table: LabelTable | None) -> str | None:
    value = values.get(field)
    if isinstance(value, list | dict):
        raise Unreadable(BadRowReason.wrong_type, _compact(values))
    label = label_of(value)
    name = names.get(label) if names and label is not None else label
    if table is not None:
        table.count(value, label, name)
    if names and label is not None and name is None:
        known = label in names
        raise Unreadable(BadRowReason.excluded_label if known else BadRowReason.unknown_label, _compact(values))
    return name


def _present(value: object) -> object:
    """The value; None for a number that is none, which pandas writes for a value that is missing.

    In a text halves of a character, which JSON can write and UTF-8 can't, become whole where they meet, and else go.
    """
    if isinstance(value, str) and not is_text(value):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")
    return None if isinstance(value, float) and math.isnan(value) else value


def _as_text(value: object) -> str | None:
    """A metadata field as text; None for nothing, an empty cell included."""
    return as_text(_compact(value) if isinstance(value, list | dict) else value)


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=repr)
