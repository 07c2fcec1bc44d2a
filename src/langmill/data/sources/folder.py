"""A folder's files: those that a format reads, and how many of the others are left out, by the reason."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from langmill.data.compression import COMPRESSIONS
from langmill.data.formats.base import ABOUT, is_about
from langmill.data.rows import portable
from langmill.files import MANIFEST_NAME

HIDDEN, EMPTY, OUTSIDE = "hidden", "empty", "link to a file outside"


class Reads(Protocol):
    """Which files are of use; a corpus's format knows."""

    def reads(self, path: PurePosixPath | Path) -> bool:
        """Whether a file of this relative path is."""


@dataclass(frozen=True)
class Contents:
    """What a folder holds."""

    files: list[PurePosixPath]
    """The files that are read, below the folder, sorted."""
    sizes: dict[PurePosixPath, int]
    """The bytes of each."""
    left_out: dict[str, int]
    """How many files are not read, by the reason: `hidden`, `empty`, an ending (`.docx`), …; sorted."""


def look_through(folder: Path, file_format: Reads, *, fetched: bool = False) -> Contents:
    """Find the files below a folder, in one walk of it.

    A link to a folder is not entered, and one to a file is read as long as that lies in the folder too: what is said to
    be a corpus is then all of it, and nothing else.

    Args:
        folder: An existing folder.
        file_format: What says which files are read.
        fetched: Whether it is one of build/raw: there DVC's links lead into its cache, and whatever a source has
            brought is counted, a file of no bytes too, but for the stage's own manifest.
    """
    home = os.path.realpath(folder)
    left_out: Counter[str] = Counter()
    sizes: dict[PurePosixPath, int] = {}
    for relative, entry in _entries(folder, PurePosixPath(), left_out):
        if fetched and relative == PurePosixPath(MANIFEST_NAME):
            continue
        reason = _reason(relative, entry, home, file_format, fetched=fetched)
        if reason is not None:
            left_out[reason] += 1
        else:
            sizes[relative] = entry.stat().st_size
    return Contents(sorted(sizes, key=PurePosixPath.as_posix), sizes, dict(sorted(left_out.items())))


def _entries(
    folder: Path, relative: PurePosixPath, left_out: Counter[str]
) -> Iterator[tuple[PurePosixPath, os.DirEntry[str]]]:
    """Everything below a folder that is no folder itself."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                path = relative / entry.name
                if entry.is_dir(follow_symlinks=False):
                    yield from _entries(Path(entry.path), path, left_out)
                elif entry.is_symlink() and os.path.isdir(entry.path):  # `entry.is_dir` fails for a circle of links
                    left_out["link to a folder"] += 1
                else:
                    yield path, entry
    except PermissionError:
        left_out["folder that may not be read"] += 1


def raw_files(folder: Path, file_format: Reads) -> list[Path]:
    """The files of a folder of build/raw that a format reads, sorted by path."""
    return [folder / relative for relative in look_through(folder, file_format, fetched=True).files]


def _reason(
    relative: PurePosixPath, entry: os.DirEntry[str], home: str, file_format: Reads, *, fetched: bool
) -> str | None:
    """Why a file is not read; None where it is."""
    if any(part.startswith(".") for part in relative.parts):
        return HIDDEN
    if not (os.path.isfile(entry.path) if entry.is_symlink() else entry.is_file()):
        return "broken link" if entry.is_symlink() else "no regular file"
    if not file_format.reads(relative):
        named = MANIFEST_NAME if relative.name == MANIFEST_NAME else ABOUT if is_about(relative) else ""
        return named or kind_of(relative) or "no ending"
    if entry.is_symlink() and not os.path.realpath(entry.path).startswith(os.path.join(home, "")):
        return None if fetched else OUTSIDE
    return None if fetched or entry.stat().st_size else EMPTY


def kind_of(path: PurePosixPath) -> str:
    """A file's ending in small letters, with the one before it where the file is compressed (`.csv.gz`)."""
    endings = path.suffixes[-2:] if path.suffix.lower() in COMPRESSIONS else path.suffixes[-1:]
    return portable("".join(endings).lower())
