"""What a test says of a mistake: the error's class, its code, and the names and figures that its sentence must have."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TypeVar

import pytest

from langmill.errors import Code, LangmillError

Error = TypeVar("Error", bound=LangmillError)


@contextlib.contextmanager
def refused(kind: type[Error], code: Code, *told: str) -> Iterator[pytest.ExceptionInfo[Error]]:
    """Expect an error of that class with that code, whose sentence has `told` in it: values, paths, what to do.

    The sentence itself is free to get better.
    """
    with pytest.raises(kind) as caught:
        yield caught
    assert caught.value.code == code, f"code {caught.value.code!r} instead of {code!r}: {caught.value}"
    for words in told:
        assert words in str(caught.value)
