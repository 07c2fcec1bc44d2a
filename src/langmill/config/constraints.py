"""What a field may be, beyond its type.

Bounds are pydantic's (`PositiveInt`, `Annotated[float, Field(gt=0, le=1)]`), and the sentence that refuses a value is
made from them. `Allowed` checks what has no bounds, `require` what several fields must say together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from langmill.config.core_yaml import as_written
from langmill.errors import Code, FieldError


@dataclass(frozen=True)
class Allowed:
    """A check and what it allows, in words: `Annotated[list[str], Allowed("at least one recipe", bool)]`."""

    words: str
    check: Callable[[Any], object]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Have pydantic call the check once the value has the right type."""
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def _checked(self, value: Any) -> Any:
        if not self.check(value):
            raise ValueError(self.words)
        return value


Share = Annotated[float, Field(ge=0, lt=1)]
"""A part that is never the whole, as of values that are dropped."""
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
"""What every generator of random numbers here takes."""

Port = Annotated[int, Field(ge=0, le=65535)]
"""A TCP port; 0 takes a free one."""


def require(condition: bool, field: str, given: object, allowed: str, code: Code = "impossible") -> None:
    """Refuse a field's value, in the `__post_init__` of its class.

    Raises FieldError where `condition` is false; the message names the field, what was given and what is allowed.
    """
    if not condition:
        raise FieldError(f"{field} is {as_written(given)}; allowed is {allowed}", field, code)
