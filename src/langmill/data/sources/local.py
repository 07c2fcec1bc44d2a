"""Raw files that are there already."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

from langmill.config.constraints import require
from langmill.config.sections import Source
from langmill.data.diagnosis.diagnose import nothing_readable
from langmill.data.formats.base import Format
from langmill.data.rows import portable
from langmill.data.sources.base import SOURCES, CorpusSource
from langmill.data.sources.folder import OUTSIDE, look_through
from langmill.errors import SourceChangedError, SourceError
from langmill.files import explained_os_errors
from langmill.progress import track

_CHUNK = 2**20


class Wanted(Protocol):
    """Which files of a source are of use; a corpus's format knows."""

    def reads(self, path: PurePosixPath | Path) -> bool:
        """Whether a file of this relative path is."""

    def endings(self) -> str:
        """What they are called, for messages."""


@SOURCES.register("files")
class LocalFiles(CorpusSource):
    """A file, or every file below a folder that the format reads."""

    def __init__(self, section: Source, options: Any) -> None:
        super().__init__(section, options)
        require(bool(section.path), "source.path", section.path, "the path of a file or a folder")
        self.local = section.path

    def fetch(self, file_format: Format, into: Path, downloads: Path) -> dict[str, int]:
        """Copy the files."""
        del downloads
        path = Path(str(self.local))
        if not path.exists():
            said = f"{path}, the corpus's source.path, does not exist"
            raise SourceError(f"{said}; paths start at the workspace's root.", "missing")
        left_out: dict[str, int] = {}
        if path.is_dir():
            contents = look_through(path, file_format)
            files, left_out = {Path(file): path / file for file in contents.files}, contents.left_out
        else:
            files = {Path(path.name): path} if path.is_file() and file_format.ending(path) is not None else {}
        if not files:
            said = nothing_readable(path, file_format.endings())
            if OUTSIDE in left_out:
                said += f" Links to files outside of it are not followed ({left_out[OUTSIDE]:,}); copy those files."
            raise SourceError(f"{path}, the corpus's source.path, {said}", "unreadable")
        copy_files(files, path.name, into)
        return left_out

    def facts(self) -> dict[str, Any]:
        """The file's or folder's name."""
        return super().facts() | {"name": Path(str(self.local)).name}


def copy_files(files: Mapping[Path, Path], title: str, into: Path) -> None:
    """Copy files to their names below `into`, which become portable ones.

    Raises:
        SourceError: A file can't be read, is written to meanwhile, or two names become the same one.
        SpaceError: The disk is full.
    """
    total = sum(file.stat().st_size for file in files.values())
    with track(f"Copying {title}", total / 1e6, "MB") as progress:
        for name, file in files.items():
            to = into / portable(name.as_posix())
            if to.as_posix() != (into / name).as_posix() and (to.exists() or Path(portable(name.as_posix())) in files):
                raise SourceError(f"Another file is called like {_named(file)}; rename one of them.", "duplicate")
            try:
                original = file.open("rb")
            except OSError as error:
                raise SourceError(f"{_named(file)} can't be read: {error.strerror}.", "unreadable") from error
            with original:
                before = _state(original)
                write(original, to, lambda count: progress.advance(count / 1e6))
                if _state(original) != before:
                    said = f"{_named(file)} was written to while it was read"
                    raise SourceChangedError(f"{said}, so that the copy may be of two states of it; run this again.")


def _state(file: IO[bytes]) -> tuple[int, int]:
    found = os.fstat(file.fileno())
    return found.st_size, found.st_mtime_ns


def _named(file: Path) -> str:
    return portable(file.as_posix())


def write(content: IO[bytes], path: Path, on_bytes: Callable[[int], object]) -> None:
    """Write a stream to a file, whose folders are made. Raises SpaceError where the disk is full."""
    with explained_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            while chunk := content.read(_CHUNK):
                file.write(chunk)
                on_bytes(len(chunk))
