"""Members of a zip or tar archive, read by name: nothing is unpacked by path, links are not followed."""

from __future__ import annotations

import fnmatch
import functools
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from langmill.config.core_yaml import as_written
from langmill.data.rows import portable
from langmill.data.sources.local import Wanted, write
from langmill.errors import SourceError

_NAMES_SHOWN = 8


def extract(
    archive: Path,
    members: list[str],
    file_format: Wanted,
    into: Path,
    place: Callable[[PurePosixPath], PurePosixPath] = lambda path: path,
) -> None:
    """Copy the members that the patterns name, each to its own path below `into`.

    Args:
        archive: A zip or tar archive, compressed or not.
        members: Names or patterns.
        file_format: What will read them.
        into: An existing folder.
        place: The path below `into` for a member's name.

    Raises:
        SourceError: It is no archive, a pattern fits no member, or a member lies outside it, can't be read or is there
            already.
        SpaceError: The disk is full.
    """
    with _opened(archive) as available:
        for name in _chosen(archive, members, file_format, available):
            parts = PurePosixPath(name).parts
            if not parts or parts[0] == "/" or ".." in parts or "\\" in name:
                raise SourceError(
                    f"{archive.name} has a member {as_written(name)}, which lies outside it.",
                    "impossible",
                )
            if not file_format.reads(PurePosixPath(name)):
                raise SourceError(
                    f"{name} in {archive.name} is no text; readable are {file_format.endings()}.",
                    "unreadable",
                )
            path = into / portable(place(PurePosixPath(name)).as_posix())
            if path.exists():
                raise SourceError(
                    f"{name} of {archive.name} stands in another package too; leave one out.", "duplicate"
                )
            with available[name]() as member:
                write(member, path, lambda _: None)


def members(archive: Path) -> list[str]:
    """The names of an archive's files, sorted; links are left out. Raises SourceError where it is no archive."""
    with _opened(archive) as available:
        return sorted(available)


def read_member(archive: Path, name: str) -> bytes:
    """The bytes of one of an archive's `members`. Raises SourceError where it is no archive."""
    with _opened(archive) as available, available[name]() as member:
        return member.read()


def _chosen(archive: Path, members: list[str], file_format: Wanted, available: Collection[str]) -> list[str]:
    """The names that the patterns fit, each once."""
    chosen: dict[str, None] = {}
    for pattern in members:
        names = [pattern] if pattern in available else fnmatch.filter(sorted(available), pattern)
        if not names:
            readable = [name for name in available if file_format.reads(PurePosixPath(name))]
            raise SourceError(
                f"{archive.name} has no member {as_written(pattern)}, which its package's members name; it has "
                f"{_listed(readable or list(available))}.",
                "missing",
            )
        chosen |= dict.fromkeys(names)
    return list(chosen)


@contextmanager
def _opened(archive: Path) -> Iterator[dict[str, Callable[[], IO[bytes]]]]:
    """The regular files of a zip or tar archive, by name, each to be opened by a call. Links are left out."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zipped:
                yield {
                    info.filename: functools.partial(zipped.open, info)
                    for info in zipped.infolist()
                    if not info.is_dir() and not stat.S_ISLNK(info.external_attr >> 16)
                }
        else:
            with tarfile.open(archive) as tar:
                yield {
                    info.name: functools.partial(_tar_member, tar, info) for info in tar.getmembers() if info.isreg()
                }
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error) as error:
        raise SourceError(
            f"{archive.name} is no readable zip or tar archive ({error}); check its package's sha256.",
            "unreadable",
        ) from error


def _tar_member(tar: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    member = tar.extractfile(info)
    assert member is not None  # it is a regular file
    return member


def _listed(names: list[str]) -> str:
    return ", ".join(sorted(names)[:_NAMES_SHOWN]) + (", …" if len(names) > _NAMES_SHOWN else "")
