"""dvc.yaml with one more line, and what DVC compares of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import CollectionNode, MappingNode, Node, SequenceNode

from langmill.config.core_yaml import parse_yaml, quoted
from langmill.errors import ConfigError
from langmill.workspace import Workspace

GRAPH_FILE = Workspace().graph_file


def add_line(text: str, group: str, name: str, values: Mapping[str, str]) -> str:
    """Add a name to a group of `vars` in dvc.yaml; comments and form stay as they are.

    Args:
        text: The file's content.
        group: `corpora`, `tokenizers`, `from_scratch` or `fine_tuned`.
        name: The new name.
        values: What the line says of it.

    Raises:
        ConfigError: The file is not in the form that this can edit; the message holds the line to write by hand.
    """
    line = f"{name}: {{{', '.join(f'{key}: {_scalar(key, value)}' for key, value in values.items())}}}"
    by_hand = ConfigError(f"{GRAPH_FILE} has no block {group} that can be added to; write there: {line}", "unreadable")
    try:
        before = _read(text)
        result = _insert(text, group, line)
        after = _read(result)
    except (ConfigError, YAMLError, LookupError, TypeError) as error:
        raise by_hand from error
    if after.get(group) != {**(before.get(group) or {}), name: dict(values)}:
        raise by_hand
    return result


def add_compared(text: str, name: str) -> str:
    """Add a recipe to what `dvc metrics diff` and `dvc plots diff` compare: `metrics` and `plots` in dvc.yaml.

    A list that somebody has taken away, or wrote in another form than one line an entry, stays as it is: it decides
    what is shown and nothing that is made.
    """
    from langmill.evaluation.estimates import METRICS_NAME
    from langmill.evaluation.folder import PLOTS_NAME  # brings PyTorch

    folder = Workspace().evaluation(name).as_posix()
    for key, path in (("metrics", f"{folder}/{METRICS_NAME}"), ("plots", f"{folder}/{PLOTS_NAME}")):
        block = {node.value: value for node, value in YAML().compose(text).value}.get(key)
        if not isinstance(block, SequenceNode) or block.flow_style or not block.value:
            continue
        if any(node.value == path for node in block.value):
            continue
        # A dash stands before its entry, in the column where the block begins.
        indent, end = block.start_mark.column, _end(block)
        rest_of_line, _, following = text[end:].partition("\n")
        text = f"{text[:end]}{rest_of_line}\n{' ' * indent}- {path}\n{following}"
    return text


def flat_vars(content: Any) -> dict[str, Any]:
    """Join the entries of the `vars` of dvc.yaml, given as read."""
    return {key: value for entry in content["vars"] if isinstance(entry, dict) for key, value in entry.items()}


def _read(text: str) -> dict[str, Any]:
    return flat_vars(parse_yaml(text, str(GRAPH_FILE), anchors=True))


def _insert(text: str, group: str, line: str) -> str:
    """Insert a line after the last one of a group.

    The tree says where; the text is not written anew from it, which would lay out the whole file as ruamel.yaml likes.
    """
    sections = {key.value: value for key, value in YAML().compose(text).value}
    entries = [entry for entry in sections["vars"].value if isinstance(entry, MappingNode)]
    key, block = {pair[0].value: pair for entry in entries for pair in entry.value}[group]
    if isinstance(block, MappingNode) and block.value:
        indent, end = block.value[0][0].start_mark.column, _end(block.value[-1][1])
    else:
        indent, end = key.start_mark.column + 2, block.end_mark.index
        if isinstance(block, MappingNode):  # `{}`, which a block can't follow
            opening = len(text[: text.rindex("{", 0, end)].rstrip())
            text, end = text[:opening] + text[end:], opening
        elif block.start_mark.index == end:  # nothing, whose mark stands where the next thing begins
            end = key.end_mark.index
    rest_of_line, _, following = text[end:].partition("\n")
    return f"{text[:end]}{rest_of_line}\n{' ' * indent}{line}\n{following}"


def _end(node: Node) -> int:
    """Find where a node's text ends; a block's own mark stands behind the comments that follow it."""
    while isinstance(node, CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    return int(node.end_mark.index)


def _scalar(key: str, value: str) -> str:
    """A value of a line in dvc.yaml: names are made so that they need no quotes, paths get them always."""
    return quoted(value) if key == "source" else value
