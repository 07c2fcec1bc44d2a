"""What a field may be, said where it is not."""

from __future__ import annotations

from langmill.errors import ConfigError


def require(condition: bool, field: str, given: object, allowed: str) -> None:
    """Refuse a field's value.

    Raises:
        ConfigError: `condition` is false; the message names the field, what was given and what is allowed.
    """
    if not condition:
        raise ConfigError(f"{field} is {given!r}; allowed is {allowed}")
