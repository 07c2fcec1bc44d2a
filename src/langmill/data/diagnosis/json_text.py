"""JSON: an array of objects, or an object a line."""

from __future__ import annotations

import io
import json
from decimal import Decimal

from langmill.config.core_yaml import as_written
from langmill.data.formats.base import lines_of
from langmill.data.formats.json_rows import RepeatedNameError, unique, whole_number

_NO_OBJECT = 'and not an object, so no field has a name; write {"text": ...}'
_JSON_NAMES = {
    dict: "one object",
    list: "an array",
    str: "a text",
    bool: "a truth value",
    int: "a number",
    float: "a number",
    Decimal: "a number",
    type(None): "null",
}


class _FaultError(Exception):
    """What is wrong with JSON text, to follow the words "The file" or "Line 3".

    Attributes:
        line: The line of the text, if one is at fault.
    """

    def __init__(self, words: str, line: int | None = None) -> None:
        super().__init__(words)
        self.line = line


class _SeveralError(_FaultError):
    """It is one object after another."""


def wrong_json_lines(data: bytes, *, whole: bool) -> str | None:
    """What is wrong with a file of objects, one a line; without `whole` it may end anywhere."""
    lines = list(lines_of(io.BytesIO(data)))
    if not whole:
        lines.pop()  # it may end in the middle of this one
    last = max((number for number, line in enumerate(lines, start=1) if line.strip()), default=0)
    for number, line in enumerate(lines, start=1):
        if line.strip() in (b"{", b"["):
            return "The file's objects stand on several lines each; .jsonl wants an object a line."
        try:
            value = _loaded(line.decode("utf-8-sig"), cut_short=number == last > 1) if line.strip() else {}
        except _FaultError as fault:
            return f"Line {number:,} {fault}."
        if not isinstance(value, dict):
            return f"Line {number:,} is {_named(value)} {_NO_OBJECT}."
    return None


def wrong_json(text: str) -> str | None:
    """What is wrong with a file that is to be one array of objects."""
    try:
        value = _loaded(text, cut_short=True)
    except _SeveralError:
        return "The file has one JSON object after another, which are JSON lines; rename it to .jsonl."
    except _FaultError as fault:
        return f"{f'Line {fault.line:,}' if fault.line else 'The file'} {fault}."
    if isinstance(value, list):
        if not value:
            return "The file is an empty array; get it again, or leave it out."
        found = ((number, item) for number, item in enumerate(value, start=1) if not isinstance(item, dict))
        return next((f"Row {number:,} is {_named(item)} {_NO_OBJECT}." for number, item in found), None)
    inside = [name for name, item in value.items() if isinstance(item, list)] if isinstance(value, dict) else []
    rows = (
        f", whose rows may be the list {as_written(inside[0])}; write that list alone"
        if inside
        else "; write it as an array"
    )
    return f"The file is {_named(value)} and not an array of objects{rows}, or one object a line (.jsonl)."


def _named(value: object) -> str:
    return _JSON_NAMES[type(value)]


def _loaded(text: str, *, cut_short: bool) -> object:
    """What JSON text stands for.

    Args:
        text: The text.
        cut_short: Whether it could go on, were the file whole.

    Raises:
        _FaultError: It stands for nothing.
    """
    try:
        return json.loads(text, object_pairs_hook=unique, parse_int=whole_number)
    except RepeatedNameError as error:
        raise _FaultError(f"has the key {as_written(str(error))} twice in one object; rename or remove one") from error
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and text[error.pos :].startswith("{"):
            raise _SeveralError("has several objects; put each on a line of its own") from error
        raise _FaultError(_json_fault(error, cut_short=cut_short), error.lineno) from error
    except RecursionError as error:
        raise _FaultError("is nested too deeply to be rows; lay it out flat") from error


def _json_fault(error: json.JSONDecodeError, *, cut_short: bool) -> str:
    rest, before = error.doc[error.pos :].lstrip(), error.doc[: error.pos].rstrip()
    closing = before.endswith(",") and rest[:1] in ("}", "]")
    behind = error.msg == "Extra data" and rest.strip() == ","
    if closing or behind or "trailing comma" in error.msg:  # Python 3.13 says so
        return "has a comma after the last item, which JSON does not allow; take it out"
    if rest[:1] == "'" or rest.startswith(("None", "True", "False")):
        return "is in Python's notation and not JSON; write it with json.dumps"
    if rest.startswith(("//", "/*", "#")):
        return "has a comment, which JSON does not allow; take it out"
    if cut_short and (not rest or error.msg.startswith("Unterminated string")):
        return "is cut short; get the file again"
    return f"is not JSON ({error.msg}, character {error.colno:,}); mend or remove it"
