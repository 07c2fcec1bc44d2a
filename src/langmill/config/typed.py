"""Plain values onto typed sections, refused with a sentence when they do not fit."""

from __future__ import annotations

import dataclasses
import difflib
import enum
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException, ValidationError

from langmill.errors import ConfigError

SectionT = TypeVar("SectionT")


def typed(section: type[SectionT], values: Mapping[str, Any] | DictConfig, where: str) -> SectionT:
    """Merge values onto a dataclass.

    Args:
        section: A dataclass whose fields have no defaults.
        values: Plain nested values.
        where: What the values come from, for the message (a file's path).

    Raises:
        ConfigError: A key is unknown or missing, or a value is of the wrong type or impossible. The message names
            `where`, the field, what was given and what is allowed.
    """
    try:
        merged = OmegaConf.merge(OmegaConf.structured(section), values)
        result = OmegaConf.to_object(merged)
    except ConfigError as error:  # from a section's __post_init__
        raise ConfigError(f"{where}: {error}.") from error
    except MissingMandatoryValue as error:
        raise ConfigError(f"{where}: {error.full_key} is missing; it has no default.") from error
    except ConfigKeyError as error:
        raise ConfigError(f"{where}: {_unknown_key(section, str(error.full_key))}") from error
    except ValidationError as error:
        key = str(error.full_key)
        given = OmegaConf.select(OmegaConf.create(_plain(values)), key) if key else values
        raise ConfigError(f"{where}: {key} is {given!r}; allowed is {_allowed(section, key)}.") from error
    except OmegaConfBaseException as error:
        message = str(error).splitlines()[0]
        raise ConfigError(f"{where}: {message}.") from error
    return typing.cast("SectionT", result)


def _plain(values: Mapping[str, Any] | DictConfig) -> Any:
    return OmegaConf.to_container(values) if isinstance(values, DictConfig) else dict(values)


def _field_type(section: Any, key: str) -> Any:
    """The type of a dotted field, or of the deepest dataclass on the way to it."""
    current = section
    for part in key.split("."):
        if not dataclasses.is_dataclass(current):
            return current
        hints = typing.get_type_hints(current)
        if part not in hints:
            return current
        current = hints[part]
    return current


def _allowed(section: Any, key: str) -> str:
    kind = _field_type(section, key.partition("[")[0])
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return "one of " + ", ".join(str(member.value) for member in kind)
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    if kind in names:
        return names[kind]
    if dataclasses.is_dataclass(kind):
        return "a section with the fields " + ", ".join(field.name for field in dataclasses.fields(kind))
    return str(kind).replace("typing.", "").replace("NoneType", "null").replace("None", "null")


def _unknown_key(section: Any, key: str) -> str:
    holder = _field_type(section, key)
    known = [field.name for field in dataclasses.fields(holder)] if dataclasses.is_dataclass(holder) else []
    close = difflib.get_close_matches(key.rpartition(".")[2], known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known) or 'none'}."
    return f"{key} is not a setting; {hint}"
