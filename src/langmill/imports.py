"""Import large libraries in less time."""

from __future__ import annotations

import contextlib
import gc
import re
import sys
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


@contextlib.contextmanager
def without_metrics_extras() -> Iterator[None]:
    """Let Lightning's import leave out what no training uses.

    It imports all of torchmetrics, which imports SciPy, Matplotlib and transformers for its own metrics where it finds
    them: more than half of the time. Those metrics then say that the package is missing, in this process, unless
    someone imported torchmetrics before.
    """
    from unittest import mock

    from lightning_utilities.core import imports as lightning

    left_out = {"matplotlib", "scipy", "transformers"} - sys.modules.keys()
    check, find = lightning.RequirementCache._check_requirement, lightning.package_available

    def checked(cache: lightning.RequirementCache) -> None:
        if re.split(r"[<>=! ]", cache.requirement or "")[0] in left_out:
            cache.available, cache.message = False, f"{cache.requirement} was left out, to start sooner"
        else:
            check(cache)

    with (
        mock.patch.object(lightning.RequirementCache, "_check_requirement", checked),
        mock.patch.object(lightning, "package_available", lambda name: name not in left_out and find(name)),
    ):
        yield
