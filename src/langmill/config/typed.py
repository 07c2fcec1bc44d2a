"""Plain values onto typed sections, refused with a sentence when they do not fit."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import enum
import logging
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from langmill.errors import ConfigError

SectionT = TypeVar("SectionT")
_logger = logging.getLogger(__name__)
_PLAIN = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


class FieldError(ConfigError):
    """A field is refused.

    Attributes:
        key: The field's dotted name.
    """

    def __init__(self, message: str, key: str) -> None:
        super().__init__(message)
        self.key = key


def typed(section: type[SectionT], values: Mapping[str, Any], where: str) -> SectionT:
    """Put plain values onto a dataclass.

    Nothing is converted but a whole number where a number is asked for, so that a text stays what was written. A field
    that had another name is also read under that one, with a warning that says the new one: the class has them in
    `renamed_fields`, as in `renamed_fields: ClassVar[Mapping[str, str]] = {"old": "new"}`.

    Args:
        section: A dataclass whose fields have no defaults.
        values: Plain nested values.
        where: What the values come from, for the message (a file's path).

    Raises:
        FieldError: A key is unknown or missing, or a value is of the wrong type or impossible. The message names
            `where`, the field, what was given and what is allowed.
    """
    try:
        return typing.cast("SectionT", _section(section, values, ""))
    except FieldError as error:
        raise FieldError(f"{where}: {error}{'' if str(error).endswith(('?', '.')) else '.'}", error.key) from error


def _section(section: Any, values: object, key: str) -> Any:
    if not isinstance(values, Mapping):
        raise _wrong(section, values, key or "the file")
    hints = typing.get_type_hints(section)
    fields = {field.name: field for field in dataclasses.fields(section)}
    values = _under_new_names(section, values, key)
    for name in values:
        if name not in fields:
            raise _unknown_key(list(fields), key, str(name))
    given = {name: _value(hints[name], value, _joined(key, name)) for name, value in values.items()}
    for name, field in fields.items():
        if name not in given and field.default is field.default_factory is dataclasses.MISSING:
            raise FieldError(f"{_joined(key, name)} is missing; it has no default", _joined(key, name))
    try:
        return section(**given)
    except FieldError:
        raise
    except ConfigError as error:  # from its __post_init__, whose sentence begins with the field's name
        own = str(error).split(" ", maxsplit=1)[0].rpartition(".")[2]
        raise FieldError(str(error), _joined(key, own)) from error


def _under_new_names(section: Any, values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The values by the names of today; what is given under an old name counts more than what a default file gives.

    A new name with points in it is that of a value in a table of names, as in `rules.improvement.min_effect`.
    """
    renamed: Mapping[str, str] = getattr(section, "renamed_fields", {})
    kept = {name: value for name, value in values.items() if name not in renamed}
    for name in [name for name in values if name in renamed]:
        _logger.warning("%s is called %s now.", _joined(key, name), _joined(key, renamed[name]))
        kept = _with(kept, renamed[name].split("."), values[name])
    return kept


def _with(values: Any, path: list[str], value: Any) -> dict[str, Any]:
    """A table of names with one more value in it, tables in it included."""
    head, *rest = path
    values = values if isinstance(values, Mapping) else {}
    return {**values, head: _with(values.get(head), rest, value) if rest else value}


def _value(kind: Any, value: Any, key: str) -> Any:
    """One value as its field wants it."""
    origin = typing.get_origin(kind)
    if kind is Any or type(value) is kind:
        return value
    if origin in (typing.Union, types.UnionType):
        return _one_of(kind, value, key)
    if dataclasses.is_dataclass(kind):
        return _section(kind, value, key)
    if origin in (list, dict):
        return _container(kind, value, key)
    if kind is float and type(value) is int:
        return float(value)
    if isinstance(kind, type) and issubclass(kind, enum.Enum) and value in [member.value for member in kind]:
        return kind(value)
    raise _wrong(kind, value, key)


def _one_of(kind: Any, value: Any, key: str) -> Any:
    kinds = typing.get_args(kind)
    if value is None and type(None) in kinds:
        return None
    inner = [each for each in kinds if each is not type(None)]
    if len(inner) == 1 and _is_composite(inner[0]):
        return _value(inner[0], value, key)  # which names the place inside by itself
    for each in inner:
        with contextlib.suppress(FieldError):
            return _value(each, value, key)
    raise _wrong(kind, value, key)


def _container(kind: Any, value: Any, key: str) -> Any:
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is list and isinstance(value, list | tuple):
        return [_value(arguments[0], item, f"{key}[{index}]") for index, item in enumerate(value)]
    if typing.get_origin(kind) is dict and isinstance(value, Mapping):
        names, items = arguments
        return {
            _value(names, name, f"a key of {key}"): _value(items, item, _joined(key, str(name)))
            for name, item in value.items()
        }
    raise _wrong(kind, value, key)


def _is_composite(kind: Any) -> bool:
    return dataclasses.is_dataclass(kind) or typing.get_origin(kind) in (list, dict)


def _joined(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _wrong(kind: Any, value: object, key: str) -> FieldError:
    quote = ""
    if str in (kind, *typing.get_args(kind)) and isinstance(value, bool | int | float):
        meaning = "true or false" if isinstance(value, bool) else "a number"
        quote = f", but this was read as {meaning}: quote it as it is meant"
    return FieldError(f"{key} is {value!r}; allowed is {_allowed(kind)}{quote}", key)


def _allowed(kind: Any) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    text = _PLAIN.get(kind, str(kind))
    if origin in (typing.Union, types.UnionType):
        text = " or ".join("null" if each is type(None) else _allowed(each) for each in arguments)
    elif isinstance(kind, type) and issubclass(kind, enum.Enum):
        text = "one of " + ", ".join(str(member.value) for member in kind)
    elif dataclasses.is_dataclass(kind):
        text = "a section with the fields " + ", ".join(field.name for field in dataclasses.fields(kind))
    elif origin is list:
        text = f"a list, each item {_allowed(arguments[0])}"
    elif origin is dict:
        text = "a table of names" if arguments[1] is Any else f"a table of names, each with {_allowed(arguments[1])}"
    return text


def _unknown_key(known: list[str], key: str, name: str) -> FieldError:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known) or 'none'}"
    return FieldError(f"{_joined(key, name)} is not a setting; {hint}", _joined(key, name))
