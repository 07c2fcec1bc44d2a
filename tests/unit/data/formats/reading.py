"""Rows of one file, for tests of formats."""

from __future__ import annotations

import io
from pathlib import PurePosixPath
from typing import Any

from langmill.data.rows import Raw, Unreadable
from tests.unit.data.settings import file_format

Rows = list[tuple[int | str, dict[str, Any]]]


def read(name: str, content: str | bytes, path: str, **options: Any) -> list[Raw]:
    data = content.encode() if isinstance(content, str) else content
    return list(file_format(name, **options).read(io.BytesIO(data), PurePosixPath(path)))


def good(rows: list[Raw]) -> Rows:
    return [(place, dict(values)) for place, values in rows if not isinstance(values, Unreadable)]


def bad(rows: list[Raw]) -> list[tuple[int | str, str]]:
    return [(place, values.reason.value) for place, values in rows if isinstance(values, Unreadable)]
