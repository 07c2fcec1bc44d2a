"""A contract in the file of its corpus: with comments at first, and with those that are there when it is renewed."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import CollectionNode, MappingNode, Node

from langmill.config.core_yaml import literal, quoted
from langmill.errors import ConfigError

_KEY = "contract"
_NULL = "tag:yaml.org,2002:null"
_WIDTH = 118
_PLAIN = re.compile(r"\A(?!(?:null|true|false|yes|no|on|off|y|n)\Z)[a-z][a-z_.]*\Z")
_BREAK = re.compile(r"(?<=\S), (?=\S)")
COMMENTS = {
    "documents": "Fewer than half of those of now stop; a fifth fewer, or a quarter more, is told. So are bytes.",
    "nulls": "Shares of documents without a value: twice those of now and one in a hundred stop; of a field that few "
    "have, where half of those lack it.",
    "types": "What values can be read as: boolean, whole_number, number, date, json.",
    "label_set": "Any other label stops, and so does one that is missing.",
    "label_balance": "Shares of the labels: half as much again as now stops, a fifth is told.",
    "lengths": "Characters at the quantiles 5%, 50% and 95%: half or twice those of now stop; a fifth shorter or a "
    "quarter longer is told.",
    "languages": "What at least one document in a hundred is in; of others, three times what there is now stops.",
    "unread": "Shares of the bytes that came in, and files that end early.",
    "survival": "Share of each source's rows that cleaning keeps: half of what the worst source keeps now stops.",
    "near_duplicates": "Shares of the rows that are left out as near duplicates.",
    "leakage": "Share of the test documents that stand in the training split.",
    "label_shift": "Distance from the reference, as the share of documents that is otherwise: a quarter stops, a tenth "
    "is told; of a small corpus more, since chance makes it differ.",
}
"""What stands above an expectation, or above several of a kind, in a contract that is written for the first time."""


def contract_text(corpus: str, contract: Mapping[str, Any]) -> str:
    """The block `contract` of a corpus's file, with comments for whoever reviews it."""
    lines = [
        f"# What is asked of the documents before anything is trained on them; `langmill profile {corpus}` drew it up",
        "# from those of now. Look at each limit: beyond `stop` nothing is trained, beyond `warn` it is told.",
        f"{_KEY}:",
        "  expectations:",
    ]
    shift = next((name for name in contract["expectations"] if name.endswith("_shift")), "")
    for name, options in contract["expectations"].items():
        if comment := COMMENTS.get("label_shift" if name == shift else name if not name.endswith("_shift") else ""):
            lines += _comment(comment)
        lines += _expectation(name, options)
    lines += [
        "  # The documents of now, which shift is measured against: lengths with the share up to each.",
        "  reference:",
    ]
    lines += [f"    {name}: {_flow(value)}" for name, value in contract["reference"].items()]
    return _dumped(_yaml().load("\n".join(lines) + "\n"))


def with_contract(text: str, corpus: str, contract: Mapping[str, Any], *, keep_limits: bool = False) -> str:
    """The text of a corpus's file with a contract; everything else stays as it stands.

    A contract that is there is renewed in place: its comments, its order and expectations that are not in the new one
    stay, and one that is null, which someone left out, stays so.

    Args:
        text: The file.
        corpus: The corpus.
        contract: The section as plain values.
        keep_limits: Whether the expectations stay as they are, and the reference alone is renewed.

    Raises:
        ConfigError: The file is not in a form that this can edit.
    """
    try:
        root = _yaml().compose(text)
        entries = {key.value: (key, value) for key, value in root.value} if isinstance(root, MappingNode) else {}
        new = contract_text(corpus, contract)
        if _KEY not in entries:
            return f"{text.rstrip()}\n{new}"
        key, value = entries[_KEY]
        begin, end = key.start_mark.index, _end(value)
        rest_of_line, newline, following = text[end:].partition("\n")
        block = _yaml().load(text[begin:end] + rest_of_line + newline)
        fresh = _yaml().load(new)[_KEY]
        if not isinstance(block.get(_KEY), CommentedMap):
            block[_KEY] = CommentedMap()
        _renew(block[_KEY], fresh, keep_limits=keep_limits)
        return text[:begin] + _dumped(block) + following
    except (YAMLError, AttributeError, LookupError, TypeError) as error:
        raise ConfigError(
            f"The file of the corpus {corpus} can't be edited ({' '.join(str(error).split())}); put its section "
            "contract into block style, or take it out.",
            "unreadable",
        ) from error


def _renew(old: CommentedMap, new: CommentedMap, *, keep_limits: bool) -> None:
    if not keep_limits or "expectations" not in old:
        there = old.setdefault("expectations", CommentedMap())
        # A comment hangs on what stands before it; the one behind the last expectation belongs to the reference.
        last = next(reversed(there), None)
        behind = there.ca.items.pop(last, None)
        for name, options in new["expectations"].items():
            if name not in there or there[name] is not None:
                _put(there, name, options)
        if behind is not None:
            there.ca.items[next(reversed(there))] = behind
    old["reference"] = new["reference"]


def _put(old: CommentedMap, key: str, new: Any) -> None:
    """Set a value, in place where it is a table of several lines: the comments between these hang on the old one."""
    was = old.get(key)
    if not isinstance(was, CommentedMap) or not isinstance(new, CommentedMap) or was.fa.flow_style():
        old[key] = new
        return
    for name in [name for name in was if name not in new]:
        del was[name]
    for name, value in new.items():
        _put(was, name, value)


def _yaml() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 1_000_000  # `_wrapped` breaks lines where a reader would
    yaml.representer.add_representer(type(None), lambda dumper, _: dumper.represent_scalar(_NULL, "null"))
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def _dumped(values: Any) -> str:
    out = io.StringIO()
    _yaml().dump(values, out)
    return "\n".join(map(_wrapped, out.getvalue().split("\n")))


def _wrapped(line: str) -> str:
    """A line of flow style, broken after commas; a break inside of quotation marks is read as the space that it was."""
    indent = len(line) - len(line.lstrip()) + 2
    lines: list[str] = []
    while len(line) > _WIDTH and " #" not in line:
        ends = [found.end() for found in _BREAK.finditer(line, indent, _WIDTH)]
        better = [end for end in ends if line[end - 3] in "]}"]
        if not ends:
            break
        end = (better or ends)[-1]
        lines.append(line[:end].rstrip())
        line = " " * indent + line[end:]
    return "\n".join([*lines, line])


def _end(node: Node) -> int:
    """Find where a node's text ends; a block's own mark stands behind the comments that follow it."""
    while isinstance(node, CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    return int(node.end_mark.index)


def _comment(text: str) -> list[str]:
    words, lines = text.split(), ["    #"]
    for word in words:
        if len(lines[-1]) + 1 + len(word) > _WIDTH:
            lines.append("    #")
        lines[-1] += f" {word}"
    return lines


def _expectation(name: str, options: Mapping[str, Any]) -> list[str]:
    line = f"    {name}: {_flow(options)}"
    if len(line) <= _WIDTH:
        return [line]
    return [f"    {name}:", *(f"      {key}: {_flow(value)}" for key, value in options.items())]


def _flow(value: Any) -> str:
    """Plain values in flow style, as every reader of YAML takes them."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_key(key)}: {_flow(item)}' for key, item in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    if isinstance(value, str):
        return value if _PLAIN.match(value) else quoted(literal(value))
    if isinstance(value, float):
        return f"{value:.10f}".rstrip("0").rstrip(".")
    return "null" if value is None else str(value)


def _key(text: str) -> str:
    return text if _PLAIN.match(text) else quoted(text)
