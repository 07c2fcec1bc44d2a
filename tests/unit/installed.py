"""A plug-in of another distribution, as if it had been installed."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from langmill.files import write_text
from langmill.plugins import Registry


@contextlib.contextmanager
def installed(folder: Path, registry: Registry[Any], name: str, code: str) -> Iterator[None]:
    """A distribution in `folder` whose module registers `name`; it is forgotten when the block ends."""
    write_text(folder / "toy_plugin.py", code)
    about = folder / "toy_plugin-1.0.dist-info"
    write_text(about / "METADATA", "Metadata-Version: 2.1\nName: toy-plugin\nVersion: 1.0\n")
    write_text(about / "entry_points.txt", f"[{registry.group}]\n{name} = toy_plugin\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        importlib.invalidate_caches()
        try:
            yield
        finally:
            registry._classes.pop(name, None)
            sys.modules.pop("toy_plugin", None)
