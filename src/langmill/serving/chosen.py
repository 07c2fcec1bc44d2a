"""Which version answers one request, where that is not the one in service."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

from langmill.serving.jobs import LoadedVersion

_CHOSEN: ContextVar[LoadedVersion | None] = ContextVar("chosen", default=None)


def chosen(name: str) -> LoadedVersion | None:
    """The version that was chosen to answer for a model in this request; None leaves it to the one in service."""
    found = _CHOSEN.get()
    return found if found is not None and found.name == name else None


@contextlib.contextmanager
def answering(loaded: LoadedVersion | None) -> Iterator[None]:
    """Have a version answer what is asked inside the block."""
    token = _CHOSEN.set(loaded)
    try:
        yield
    finally:
        _CHOSEN.reset(token)
