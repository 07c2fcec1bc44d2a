"""A package index in a folder: what pip can fetch without a network."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

from langmill.files import sha256_file

METADATA = "Metadata-Version: 2.1\nName: films\nVersion: 1.0\n"


def wheel(folder: Path, members: dict[str, str]) -> str:
    """Write films-1.0 as a wheel and return its SHA-256."""
    path = folder / "films-1.0-py3-none-any.whl"
    info = "films-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {
            **members,
            f"{info}/METADATA": METADATA,
            f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/RECORD": "",
        }.items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return sha256_file(path)


def tar(path: Path, members: dict[str, str], links: dict[str, str]) -> Path:
    """Write a tar archive with symbolic links."""
    with tarfile.open(path, "w:gz") as archive:
        for name, text in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
        for name, target in links.items():
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.SYMTYPE
            entry.linkname = target
            archive.addfile(entry)
    return path
