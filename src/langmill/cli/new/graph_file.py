"""dvc.yaml with one more line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langmill.config.core_yaml import parse_yaml, quoted
from langmill.errors import ConfigError

GRAPH_FILE = Path("dvc.yaml")


def add_line(text: str, group: str, name: str, values: Mapping[str, str]) -> str:
    """`dvc.yaml` with one more name in a group of `vars`; comments and form stay as they are.

    Args:
        text: The file's content.
        group: `corpora`, `tokenizers`, `from_scratch` or `fine_tuned`.
        name: The new name.
        values: What the line says of it.

    Raises:
        ConfigError: The file is not in the form that this can edit; the message holds the line to write by hand.
    """
    line = f"{name}: {{{', '.join(f'{key}: {_scalar(key, value)}' for key, value in values.items())}}}"
    by_hand = ConfigError(f"{GRAPH_FILE} has no block {group!r} that can be added to; write under it: {line}")
    lines = text.splitlines(keepends=True)
    heading = re.compile(rf"^(\s*(?:- )?){group}:(\s*&\S+)?\s*(\{{\s*\}})?\s*(#.*)?$")
    found = [(index, match) for index, each in enumerate(lines) if (match := heading.match(each.rstrip("\n")))]
    if len(found) != 1:
        raise by_hand
    start, match = found[0]
    column = len(match[1])
    last, indent = start, None
    for index, each in enumerate(lines[start + 1 :], start=start + 1):
        depth = len(each) - len(each.lstrip(" "))
        if each.strip() and not each.lstrip().startswith("#"):
            if depth <= column:
                break
            last, indent = index, depth if indent is None else indent
    if match[3]:
        lines[start] = lines[start].replace(match[3], "", 1).rstrip() + "\n"
    if not lines[last].endswith("\n"):
        lines[last] += "\n"
    lines.insert(last + 1, f"{' ' * (indent or column + 2)}{line}\n")
    result = "".join(lines)
    try:
        before, after = (flat_vars(parse_yaml(each, str(GRAPH_FILE), anchors=True)) for each in (text, result))
    except ConfigError as error:
        raise by_hand from error
    if after.get(group) != {**(before.get(group) or {}), name: dict(values)}:
        raise by_hand
    return result


def flat_vars(content: Any) -> dict[str, Any]:
    """Join the entries of the `vars` of dvc.yaml, given as read."""
    return {key: value for entry in content["vars"] if isinstance(entry, dict) for key, value in entry.items()}


def _scalar(key: str, value: str) -> str:
    """A value of a line in dvc.yaml: names are made so that they need no quotes, paths get them always."""
    return quoted(value) if key == "source" else value
