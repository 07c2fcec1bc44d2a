"""Plain values onto typed sections, refused with a sentence when they do not fit."""

from __future__ import annotations

import dataclasses
import difflib
import enum
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from langmill.errors import ConfigError

SectionT = TypeVar("SectionT")
_PLAIN = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


def typed(section: type[SectionT], values: Mapping[str, Any], where: str) -> SectionT:
    """Put plain values onto a dataclass.

    Nothing is converted but a whole number where a number is asked for, so that a text stays what was written.

    Args:
        section: A dataclass whose fields have no defaults.
        values: Plain nested values.
        where: What the values come from, for the message (a file's path).

    Raises:
        ConfigError: A key is unknown or missing, or a value is of the wrong type or impossible. The message names
            `where`, the field, what was given and what is allowed.
    """
    try:
        return typing.cast("SectionT", _section(section, values, ""))
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}{'' if str(error).endswith(('?', '.')) else '.'}") from error


def _section(section: Any, values: object, key: str) -> Any:
    if not isinstance(values, Mapping):
        raise _wrong(section, values, key or "the file")
    hints = typing.get_type_hints(section)
    fields = {field.name: field for field in dataclasses.fields(section)}
    for name in values:
        if name not in fields:
            raise ConfigError(_unknown_key(list(fields), key, str(name)))
    given = {name: _value(hints[name], value, _joined(key, name)) for name, value in values.items()}
    for name, field in fields.items():
        if name not in given and field.default is field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{_joined(key, name)} is missing; it has no default")
    return section(**given)


def _value(kind: Any, value: Any, key: str) -> Any:
    """One value as its field wants it."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        kinds = [each for each in arguments if each is not type(None)]
        for each in kinds[:-1]:
            try:
                return _value(each, value, key)
            except ConfigError:
                continue
        if not _is_composite(kinds[-1]):  # those name the place inside by themselves
            try:
                return _value(kinds[-1], value, key)
            except ConfigError as error:
                raise _wrong(kind, value, key) from error
        return _value(kinds[-1], value, key)
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return value if type(value) is kind else _section(kind, value, key)
    if origin is list and isinstance(value, list | tuple):
        return [_value(arguments[0], item, f"{key}[{index}]") for index, item in enumerate(value)]
    if origin is dict and isinstance(value, Mapping):
        return {
            _value(arguments[0], name, f"a key of {key}"): _value(arguments[1], item, _joined(key, str(name)))
            for name, item in value.items()
        }
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        try:
            return kind(value)
        except ValueError as error:
            raise _wrong(kind, value, key) from error
    if kind is float and type(value) is int:
        return float(value)
    if kind in _PLAIN and type(value) is kind:
        return value
    raise _wrong(kind, value, key)


def _is_composite(kind: Any) -> bool:
    return dataclasses.is_dataclass(kind) or typing.get_origin(kind) in (list, dict)


def _joined(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _wrong(kind: Any, value: object, key: str) -> ConfigError:
    quote = ""
    if str in (kind, *typing.get_args(kind)) and isinstance(value, bool | int | float):
        meaning = "true or false" if isinstance(value, bool) else "a number"
        quote = f", but this was read as {meaning}: quote it as it is meant"
    return ConfigError(f"{key} is {value!r}; allowed is {_allowed(kind)}{quote}")


def _allowed(kind: Any) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind in _PLAIN:
        return _PLAIN[kind]
    if origin in (typing.Union, types.UnionType):
        return " or ".join("null" if each is type(None) else _allowed(each) for each in arguments)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return "one of " + ", ".join(str(member.value) for member in kind)
    if dataclasses.is_dataclass(kind):
        return "a section with the fields " + ", ".join(field.name for field in dataclasses.fields(kind))
    if origin is list:
        return f"a list, each item {_allowed(arguments[0])}"
    if origin is dict:
        return "a table of names" if arguments[1] is Any else f"a table of names, each with {_allowed(arguments[1])}"
    return str(kind)


def _unknown_key(known: list[str], key: str, name: str) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known) or 'none'}"
    return f"{_joined(key, name)} is not a setting; {hint}"
