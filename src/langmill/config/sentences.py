"""Pydantic's errors as the sentences of Langmill: the field, what was given, what is allowed."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from langmill.config.core_yaml import as_written
from langmill.config.names import nearest
from langmill.errors import FieldError

_PLAIN = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", Any: "anything"}
_BOUNDS = ("ge", "gt", "le", "lt", "words")
_UNIONS = (typing.Union, types.UnionType)
_UNKNOWN = "unexpected_keyword_argument"
Location = Sequence[str | int]


def refusal(error: ValidationError, section: type[Any], values: object, at: str = "") -> FieldError:
    """The first reason for which values are refused; a key that is unknown explains one that is missing.

    Args:
        error: What pydantic found.
        section: The class that the values were meant for.
        values: The values.
        at: The key that holds them, dotted; empty where they are the whole file.
    """
    found = error.errors(include_url=False)
    first = next((each for each in found if each["type"] == _UNKNOWN), found[0])
    if first["type"] == "json_invalid":
        half = "holds half a character (a lone surrogate); write its text anew"
        return FieldError(f"{at or 'the file'} {half}", at, "wrong_type")
    return _refusal(first, section, values, at)


def joined(key: str, name: str) -> str:
    """A dotted key; what the name repeats of the key's end is not said twice."""
    parts, own = key.split("."), name.split(".")
    said = next((n for n in range(len(own) - 1, 0, -1) if parts[-n:] == own[:n]), 0)
    return ".".join([key, *own[said:]]) if key else name


def wrong_type(wanted: Any, given: object, place: str, key: str) -> FieldError:
    """What refuses a value of another type; `place` is the key as the sentence has it."""
    quote, bare = "", _bare(wanted)
    if isinstance(given, bool | int | float) and str in (bare, *typing.get_args(bare)):
        meaning = "true or false" if isinstance(given, bool) else "a number"
        quote = f", but this was read as {meaning}: quote it as it is meant"
    words = f"a list ({as_written(given)})" if isinstance(given, list) and given else as_written(given)
    return FieldError(f"{place} is {words}; allowed is {_allowed(wanted)}{quote}", key, "wrong_type")


def _refusal(error: ErrorDetails, section: type[Any], values: object, at: str) -> FieldError:
    kind, location = error["type"], error["loc"]
    if kind == _UNKNOWN:
        holder, place, _ = _follow(section, values, location[:-1], at)
        known, name = [field.name for field in dataclasses.fields(plain_type(holder))], str(location[-1])
        hint = nearest(name, known, f"known are {', '.join(known) or 'none'}")
        return FieldError(f"{joined(place, name)} is not a setting; {hint}", joined(place, name), "unknown")
    wanted, key, given = _follow(section, values, location, at)
    if kind == "missing":
        return FieldError(f"{key} is missing; it has no default", key, "missing")
    reason = error.get("ctx", {}).get("error")
    if isinstance(reason, FieldError):  # of `require`; its sentence begins with the field's name
        own = joined(key, reason.key)
        return FieldError(own + str(reason).removeprefix(reason.key), own, reason.code)
    place = key or "the file"
    if kind.endswith("_type") or kind in ("enum", "literal_error"):
        return wrong_type(wanted, given, place, key)
    words = _bounds(wanted)
    sentence = f"is {as_written(given)}; allowed is {words}" if words else f"is refused: {reason or error['msg']}"
    return FieldError(f"{place} {sentence}", key)


def _follow(kind: Any, value: Any, location: Location, key: str) -> tuple[Any, str, Any]:
    """The type, the dotted key and the value at a place; of several types that a field may have, none is followed."""
    for part in location:
        bare = plain_type(kind)
        origin, arguments = typing.get_origin(bare), typing.get_args(bare)
        if dataclasses.is_dataclass(bare) and isinstance(part, str):
            kind, key = typing.get_type_hints(bare, include_extras=True)[part], joined(key, part)
        elif origin in (list, tuple) and isinstance(part, int):
            kind, key = arguments[min(part, len(arguments) - 1)], f"{key}[{part}]"
            kind = arguments[0] if kind is Ellipsis else kind
        elif origin is dict and part != "[key]":
            kind, key = arguments[1], joined(key, str(part))
        else:
            break
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list | tuple) and isinstance(part, int):
            value = value[part]
    return kind, key, value


def _allowed(kind: Any) -> str:
    """What may stand in a field of a type, in words; its bounds are left out."""
    kind = _bare(kind)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    text = _PLAIN.get(kind, str(kind))
    if origin in _UNIONS:
        text = " or ".join("null" if each is type(None) else _allowed(each) for each in arguments)
    elif origin is typing.Literal:
        text = "one of " + ", ".join(map(str, arguments))
    elif isinstance(kind, type) and issubclass(kind, enum.Enum):
        text = "one of " + ", ".join(str(member.value) for member in kind)
    elif dataclasses.is_dataclass(kind):
        text = "a section with the fields " + ", ".join(field.name for field in dataclasses.fields(kind))
    elif origin in (list, tuple):
        text = f"a list, each item {_allowed(arguments[0])}"
    elif origin is dict:
        text = "a table of names" if arguments[1] is Any else f"a table of names, each with {_allowed(arguments[1])}"
    return text


def _bounds(kind: Any) -> str:
    """What else is asked of a value, in words: `1 or more`; empty for what has no words."""
    found = {name: getattr(each, name) for each in _metadata(kind) for name in _BOUNDS if hasattr(each, name)}
    if "words" in found:
        return str(found["words"])
    if plain_type(kind) is int:  # the next number is as good as none beyond
        found |= {"ge": found["gt"] + 1} if "gt" in found else {}
        found |= {"le": found["lt"] - 1} if "lt" in found else {}
    ge, gt, le, lt = (found.get(name) for name in _BOUNDS[:4])
    low = f"above {gt}" if ge is None else str(ge)
    if le is None and lt is None:
        return f"{ge} or more" if ge is not None else low if gt is not None else ""
    if ge is not None:
        return f"{low} to {f'below {lt}' if le is None else le}"
    high = f"below {lt}" if le is None else f"at most {le}"
    return high if gt is None else f"{low} and {high}" if le is None else f"{low}, {high}"


def _metadata(kind: Any) -> list[Any]:
    """What stands beside a type in `Annotated`, also where the field may be null as well."""
    if typing.get_origin(kind) is not typing.Annotated:
        bare = _without_null(kind)
        return [] if bare is kind else _metadata(bare)
    beside = typing.get_args(kind)[1:]
    return [one for each in beside for one in (each.metadata if isinstance(each, FieldInfo) else [each])]


def plain_type(kind: Any) -> Any:
    """A type without what `Annotated` says of it, and without null."""
    return _bare(_without_null(kind))


def _without_null(kind: Any) -> Any:
    kinds = typing.get_args(_bare(kind)) if typing.get_origin(_bare(kind)) in _UNIONS else (kind,)
    others = [each for each in kinds if each is not type(None)]
    return others[0] if len(others) == 1 else _bare(kind)


def _bare(kind: Any) -> Any:
    return typing.get_args(kind)[0] if typing.get_origin(kind) is typing.Annotated else kind
