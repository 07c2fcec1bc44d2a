"""Import large libraries in less time."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def without_collecting() -> Iterator[None]:
    """Suspend the garbage collector for a block of imports, and keep what they made out of its later rounds.

    Modules stay until the process ends; the collector would look through them dozens of times while they come in.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
