"""Settings as YAML in which each value stands under what it means."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from langmill.config.compose import plain
from langmill.config.core_yaml import dump_yaml


class PlugInTable(NamedTuple):
    """A table of the settings that a plug-in types."""

    meaning: str
    options: Any
    """The typed options."""


def explained(section: Any, tables: Mapping[str, PlugInTable]) -> str:
    """A section's values, each under a comment with its field's docstring, or with its class's where it has none.

    Args:
        section: The section.
        tables: What plug-ins type, by the dotted key of each.
    """
    return "\n".join(_section(section, tables, ""))


def _section(section: Any, tables: Mapping[str, PlugInTable], prefix: str) -> Iterator[str]:
    schema = _schema(type(section))
    yield from _fields(schema, schema.get("$defs", {}), plain(section), tables, prefix)


def _schema(section: Any) -> dict[str, Any]:
    """A section's schema, each inherited field with its docstring: pydantic looks for one in the class's own text."""
    schema = TypeAdapter(section).json_schema()
    for parent in section.__mro__[1:]:
        if dataclasses.is_dataclass(parent):
            for name, field in TypeAdapter(parent).json_schema().get("properties", {}).items():
                if name in schema["properties"] and "description" in field:
                    schema["properties"][name].setdefault("description", field["description"])
    return schema


def _fields(
    schema: Mapping[str, Any],
    classes: Mapping[str, Any],
    values: Mapping[str, Any],
    tables: Mapping[str, PlugInTable],
    prefix: str,
) -> Iterator[str]:
    for name, field in schema.get("properties", {}).items():
        key, value = f"{prefix}{name}", values[name]
        references = (each["$ref"] for each in (field, *field.get("anyOf", ())) if "$ref" in each)
        kind = classes.get(next(references, "").rpartition("/")[2], {})
        yield from _comment(field.get("description", kind.get("description", "")))
        if key in tables:
            inner = _section(tables[key].options, tables, f"{key}.")
        elif "properties" in kind and value is not None:
            inner = _fields(kind, classes, value, tables, f"{key}.")
        elif isinstance(value, dict):
            inner = _named_tables(value, tables, f"{key}.")
        else:
            inner = iter(())
        yield from _under(name, value, inner)


def _named_tables(values: Mapping[str, Any], tables: Mapping[str, PlugInTable], prefix: str) -> Iterator[str]:
    """Tables of several plug-ins, as the rules of a gate: in the order in which they are asked."""
    for name, value in values.items():
        table = tables.get(f"{prefix}{name}")
        yield from _comment(table.meaning if table else "")
        yield from _under(name, value, _section(table.options, tables, f"{prefix}{name}.") if table else iter(()))


def _under(name: str, value: Any, inner: Iterator[str]) -> Iterator[str]:
    """A name over the lines of its table; with its value where there are none."""
    lines = [f"  {line}" for line in inner]
    yield from [f"{name}:", *lines] if lines else dump_yaml({name: value}, sort_keys=False, width=100).splitlines()


def _comment(words: str) -> list[str]:
    return [f"# {line}".rstrip() for line in words.splitlines()]
