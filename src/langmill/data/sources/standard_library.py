"""The modules of the running interpreter's standard library, as text."""

from __future__ import annotations

import platform
import sys
import sysconfig
from pathlib import Path
from typing import Any

from langmill.data.formats.base import Format
from langmill.data.sources.base import SOURCES, CorpusSource
from langmill.data.sources.local import copy_files
from langmill.errors import SourceError

_LEFT_OUT = frozenset({"__pycache__", "idle_test", "idlelib", "site-packages", "test", "tests", "turtledemo"})
"""Folders of programs and tests; what is installed on top is no standard library."""


@SOURCES.register("python")
class StandardLibrary(CorpusSource):
    """Every module in Python that `sys.stdlib_module_names` lists, packages with their submodules.

    The list is the same on every platform, and has neither the test suite nor the modules that are made when Python is
    built, which hold paths of the machine that built it. Nothing is imported.
    """

    def fetch(self, file_format: Format, into: Path, downloads: Path) -> dict[str, int]:
        """Copy the modules that the format reads."""
        del downloads
        root = Path(sysconfig.get_path("stdlib"))
        found = (path.relative_to(root) for path in sorted(root.rglob("*.py"))) if root.is_dir() else ()
        files = {
            name: root / name
            for name in found
            if name.parts[0].removesuffix(".py") in sys.stdlib_module_names
            and not _LEFT_OUT.intersection(name.parts)
            and file_format.reads(name)
        }
        if not files:
            raise SourceError(
                f"{sys.executable} has no standard library in files that the corpus's format reads "
                f"({file_format.endings()}); use a Python that is installed as files, and a format for .py.",
                "missing",
            )
        copy_files(files, "Python's standard library", into)
        return {}

    def facts(self) -> dict[str, Any]:
        """Which Python it was."""
        return super().facts() | {
            "implementation": platform.python_implementation(),
            "version": platform.python_version(),
        }
