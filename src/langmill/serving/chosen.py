"""Which version answers one request, where that is not the one in service."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

from langmill.serving.jobs import LoadedVersion

_CHOSEN: ContextVar[tuple[str, LoadedVersion] | None] = ContextVar("chosen", default=None)


def chosen(name: str) -> LoadedVersion | None:
    """The version that was chosen to answer for a model in this request; None leaves it to the one in service."""
    found = _CHOSEN.get()
    return found[1] if found is not None and found[0] == name else None


@contextlib.contextmanager
def answering(loaded: LoadedVersion, name: str | None = None) -> Iterator[None]:
    """Have a version answer what is asked inside the block by its model's name, or by another one."""
    token = _CHOSEN.set((name or loaded.name, loaded))
    try:
        yield
    finally:
        _CHOSEN.reset(token)
