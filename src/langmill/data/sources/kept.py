"""Bytes that were read from a place that can change, kept by their SHA-256: `fetch` brings what `refresh` has seen."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from langmill.data.sources.local import write
from langmill.files import explained_os_errors, link_or_copy, sha256_file

_FOLDER = "files"


class _Hashed:
    """A stream that says the SHA-256 of what was read from it."""

    def __init__(self, content: IO[bytes]) -> None:
        self._content = content
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._content.read(size)
        self.digest.update(data)
        return data


def keep(content: IO[bytes], downloads: Path, on_bytes: Callable[[int], object] = lambda _: None) -> str:
    """Read a stream to its end, keep its bytes, and return their SHA-256. Raises SpaceError where the disk is full."""
    folder = downloads / _FOLDER
    with explained_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=".incoming.", suffix=".tmp")
        os.close(descriptor)
    temporary = Path(name)
    try:
        hashed = _Hashed(content)
        write(hashed, temporary, on_bytes)  # type: ignore[arg-type]  # it is read from, and nothing else
        sha256 = hashed.digest.hexdigest()
        os.replace(temporary, folder / sha256)
    finally:
        temporary.unlink(missing_ok=True)
    return sha256


def kept(sha256: str, downloads: Path) -> Path | None:
    """The file that is kept of a SHA-256; None where there is none, or where its bytes are others by now."""
    path = downloads / _FOLDER / sha256
    if not path.is_file():
        return None
    if sha256_file(path) != sha256:
        path.unlink()
        return None
    return path


def bring(path: Path, to: Path) -> None:
    """Put a kept file where the raw files go. Raises SpaceError where the disk is full."""
    with explained_os_errors(to):
        to.parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(path, to)
