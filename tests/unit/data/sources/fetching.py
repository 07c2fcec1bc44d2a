"""A source fetched into a folder, and what it left there."""

from __future__ import annotations

import shutil
from pathlib import Path

from langmill.config.sections import Source
from langmill.data.sources.base import build_source
from tests.unit.data.settings import file_format


def fetch(source: Source, into: Path, downloads: Path) -> None:
    shutil.rmtree(into)
    into.mkdir()
    build_source(source, "tiny.yaml").fetch(file_format(), into, downloads)


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()
    }
