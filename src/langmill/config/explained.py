"""Settings as YAML in which each value stands under what it means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from langmill.config.compose import plain
from langmill.config.core_yaml import dump_yaml


def explained(section: Any) -> str:
    """A section's values, each under a comment with its field's docstring, or with its class's where it has none."""
    schema = TypeAdapter(type(section)).json_schema()
    return "\n".join(_lines(schema, schema.get("$defs", {}), plain(section), ""))


def _lines(schema: Mapping[str, Any], classes: Mapping[str, Any], values: dict[str, Any], indent: str) -> list[str]:
    lines = []
    for name, field in schema["properties"].items():
        kind = classes.get(field.get("$ref", "").rpartition("/")[2], {})
        lines += [f"{indent}# {line}" for line in field.get("description", kind.get("description", "")).splitlines()]
        if "properties" in kind:
            lines += [f"{indent}{name}:", *_lines(kind, classes, values[name], f"{indent}  ")]
        else:
            lines += [indent + line for line in dump_yaml({name: values[name]}, width=100).rstrip().splitlines()]
    return lines
