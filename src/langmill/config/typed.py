"""Plain values onto typed sections by pydantic, refused with a sentence when they do not fit."""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import ArgsKwargs

from langmill.config.sentences import joined, plain_type, refusal, wrong_type
from langmill.errors import Code, ConfigError, FieldError

SectionT = TypeVar("SectionT")
Origin = Callable[[str], tuple[int, str] | None]
"""What gave a setting its value, by the setting's dotted key: a place in the order in which files and overrides are
merged, the last of which wins, and the file or the override that stands there."""
_CONFIG = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)
_logger = logging.getLogger(__name__)


@typing.dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def settings(section: type[SectionT]) -> type[SectionT]:
    """Class decorator: a frozen dataclass that checks its fields, also where it is made by hand or by `replace`.

    What it refuses is a `FieldError`. The docstring under a field is its help. A plug-in's options may as well be a
    plain dataclass: `typed` checks it the same.
    """
    made: Any = dataclasses.dataclass(frozen=True)(section)
    made.__pydantic_config__ = _CONFIG

    @functools.wraps(made.__init__)
    def checked(self: Any, *args: Any, **values: Any) -> None:
        kind: Any = type(self)
        names = [field.name for field in dataclasses.fields(self)]
        given = dict(zip(names, args, strict=False)) | values
        surplus = args[len(names) :]
        try:
            _adapter(kind).validator.validate_python(ArgsKwargs(surplus, given), self_instance=self)
        except ValidationError as error:
            raise refusal(error, kind, given) from error

    made.__init__ = checked
    return typing.cast("type[SectionT]", made)


def typed(
    section: type[SectionT], values: Mapping[str, Any], where: str, at: str = "", origin: Origin | None = None
) -> SectionT:
    """Put plain values onto a dataclass, pydantic's or a plain one.

    Nothing is converted but a whole number where a number is asked for, so that a text stays what was written. A field
    that had another name is also read under that one: the class has them in `renamed_fields`, as in
    `renamed_fields: ClassVar[Mapping[str, str]] = {"old": "new"}`; a new name with points in it is that of a value in a
    table. Where that does not suffice, its class method `migrated` gives the values of today and, by each old key that
    was there, the new one.

    Args:
        section: The class.
        values: Plain nested values.
        where: What the values come from, for the message (a file's path).
        at: The key of that file that holds the values, dotted; empty for the whole file.
        origin: What gave the values, where a person did and no saved model: a field that is given under an old name is
            warned of, and refused where its new name was given with it or after it.

    Raises:
        FieldError: A key is unknown or missing, a value is of the wrong type or impossible, or a field is given under
            two names. The message names `where`, the field, what was given and what is allowed.
    """
    kind: Any = section
    current: Any = values
    try:
        current = _under_new_names(section, values, at, origin)
        # What YAML holds is JSON, in whose mode pydantic takes a text for an enum's member without taking "1" for 1.
        return typing.cast("SectionT", _adapter(kind).validate_json(json.dumps(current), strict=True, extra="forbid"))
    except ValidationError as error:
        refused = refusal(error, section, current, at)
    except FieldError as error:
        refused = error
    except ConfigError as error:  # of a plain class's `__post_init__`, whose sentence begins with the field's name
        refused = FieldError(
            str(error),
            joined(at, str(error).split(" ", maxsplit=1)[0]),
            typing.cast("Code", error.code or "impossible"),
        )
    end = "" if str(refused).endswith(("?", ".")) else "."
    raise FieldError(f"{where}: {refused}{end}", refused.key, refused.code) from refused


@functools.cache
def _adapter(section: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(section)
    except PydanticUserError as error:
        name = f"{section.__module__}.{section.__qualname__}"
        raise ConfigError(f"{name} can't be filled from settings: {error.message}", "wrong_type") from error


@functools.cache
def _hints(section: Any) -> dict[str, Any]:
    return typing.get_type_hints(section, include_extras=True)


def _under_new_names(kind: Any, value: Any, key: str, origin: Origin | None) -> Any:
    """Values by the names of today, all the way down.

    Raises FieldError where a key is no text, or a field is given under two names.
    """
    kind = plain_type(kind)
    arguments = typing.get_args(kind)
    if isinstance(value, list | tuple):
        item = arguments[0] if arguments else Any
        return [_under_new_names(item, each, f"{key}[{index}]", origin) for index, each in enumerate(value)]
    if not isinstance(value, Mapping):
        return value
    is_section = dataclasses.is_dataclass(kind)
    if is_section and hasattr(kind, "migrated"):  # whose old keys are more than other names
        value, moved = kind.migrated(value)
        for old, new in moved.items():
            _warn_of_old(joined(key, old), joined(key, new), origin)
    renamed: Mapping[str, str] = getattr(kind, "renamed_fields", {}) if is_section else {}
    current: dict[str, Any] = {}
    for name in sorted(value, key=renamed.__contains__):  # what is given under an old name counts more than a default
        if not isinstance(name, str):
            raise wrong_type(str, name, f"a key of {key}", key)
        new = renamed.get(name, name)
        if new != name:
            _warn_of_old(joined(key, name), joined(key, new), origin)
        item = _hints(kind).get(new, Any) if is_section else arguments[-1] if arguments else Any
        path = new.split(".") if name in renamed else [name]
        current = _with(current, path, _under_new_names(item, value[name], joined(key, new), origin))
    return current


def _with(values: Any, path: list[str], value: Any) -> dict[str, Any]:
    """A table of names with one more value in it, tables in it included."""
    head, *rest = path
    values = values if isinstance(values, Mapping) else {}
    return {**values, head: _with(values.get(head), rest, value) if rest else value}


def _warn_of_old(old: str, new: str, origin: Origin | None) -> None:
    """Warn of a setting that is given under an old name.

    Raises FieldError where it is given under its new name as well, by no default: nobody could tell which is meant.
    """
    place = origin(old) if origin is not None else None
    if origin is None or place is None:
        return
    other = origin(new)
    if other is not None and other[0] >= place[0]:
        raise FieldError(f"{old} and {new} are two names of one setting; keep {new}", new, "duplicate")
    _warn(f"{place[1]}: {old} is {new} now.")


@functools.cache  # once in a process, however often a file is composed
def _warn(sentence: str) -> None:
    _logger.warning(sentence)
