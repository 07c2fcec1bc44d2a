"""Files in zip and tar archives, read by their names in it: nothing is unpacked by path, and no link is followed."""

from __future__ import annotations

import contextlib
import functools
import io
import stat
import tarfile
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import field
from pathlib import PurePosixPath
from typing import IO, Any, Self, cast

import pyarrow as pa
from pydantic import PositiveInt

from langmill.config.sections import FormatSection
from langmill.config.typed import settings
from langmill.data.compression import COMPRESSIONS, DAMAGED, LOCKED
from langmill.data.formats.base import ABOUT, FORMATS, Format, build_format, is_about, rest_of_damaged
from langmill.data.raw_files import RawFile
from langmill.data.rows import EXCERPT, BadRowReason, Raw, Unreadable, Whole, escaped, portable

_CHUNK = 2**20
_HELD = 2**24  # bytes of a member that are held in memory; more go to a temporary file
_TEXT_BYTES = 2**28  # of a member that is one text, which is held whole
_GIGABYTE = 10**9
_ENCRYPTED = 1  # a member's flag, by the format's description (PKWARE's APPNOTE, 4.4.4)
_BROKEN = (*DAMAGED, zipfile.BadZipFile, tarfile.TarError, NotImplementedError, RuntimeError, ValueError)
"""What reading a damaged archive raises; RuntimeError and NotImplementedError where members are compressed or
encrypted in a way that Python does not know, ValueError where the archive itself is compressed and a zip."""


@settings
class ArchiveOptions:
    """How members are read, and how much may come of an archive: a few bytes can stand for very many."""

    format: str = "auto"
    """The format of the members, by its name."""
    options: dict[str, Any] = field(default_factory=dict)
    """That format's options."""
    max_gigabytes: PositiveInt = 100
    """What all members of one archive may have, unpacked, in units of 10^9 bytes; what is beyond is not read."""


@FORMATS.register("archive")
class Archive(Format):
    """The rows of an archive's members, with the fields that their format gives them, in the archive's order.

    Members that the format does not read (hidden, of other endings, links, archives in archives) are counted in one
    quarantined row for each ending.
    """

    options_class = ArchiveOptions
    file_endings = frozenset({".tar", ".tbz2", ".tgz", ".txz", ".zip"})
    auto_endings = file_endings
    diagnosable = False
    options: ArchiveOptions

    def __init__(self, options: ArchiveOptions) -> None:
        super().__init__(options)
        self._format = build_format(FormatSection(options.format, options.options), "format archive")

    def read(self, file: IO[bytes], path: PurePosixPath) -> Iterator[Raw]:
        """The rows of one archive, placed by member and place."""
        members = _zipped if self.ending(path) == ".zip" else _tarred
        left: Counter[str] = Counter()
        sizes: Counter[str] = Counter()
        first: dict[str, str] = {}
        total, name = 0, ""
        try:
            for name, size, opened in members(file):
                kind = self._left_out(name) if opened else "link or device"
                total += 0 if kind else size
                if not kind and total > self.options.max_gigabytes * _GIGABYTE:
                    kind = "beyond max_gigabytes"
                if kind or opened is None:
                    left[kind] += 1
                    sizes[kind] += size
                    first.setdefault(kind, name)
                else:
                    yield from self._member(opened, size, name)
        except _BROKEN as error:
            if not name and file.seekable():  # a zip archive's list of members stands at its end
                file.seek(0)
            yield f"{portable(name)}+", rest_of_damaged(error, _size_of_rest(file))
        for kind, count in sorted(left.items()):
            said = f"{kind}: {count:,} member{'s' * (count > 1)}, the first {portable(first[kind])}"
            yield f"* {portable(kind)}", Unreadable(BadRowReason.unsupported, said, num_bytes=sizes[kind])

    def _left_out(self, name: str) -> str:
        """Why a member is not read; empty for one that is."""
        path = PurePosixPath(name)
        if ".." in path.parts:
            return "outside of the archive"
        if any(part.startswith(".") for part in path.parts):
            return "hidden"
        if is_about(path):
            return ABOUT
        endings = [each.lower() for each in path.suffixes[-2:]]
        ending = "".join(endings if endings[-1:] and endings[-1] in COMPRESSIONS else endings[-1:])
        unread = not self._format.reads(path) or self.ending(path) is not None or bool(self._format.companions(path))
        return (ending or "no ending") if unread else ""

    def _member(self, opened: Callable[[], IO[bytes]], size: int, name: str) -> Iterator[Raw]:
        """The rows of one member, which is copied first: formats read some files twice."""
        shown, place = portable(name), "0"
        with tempfile.SpooledTemporaryFile(_HELD) as held:
            try:
                with opened() as content:
                    while data := content.read(_CHUNK):
                        held.write(data)
            except _BROKEN as error:
                yield f"{shown}:1", rest_of_damaged(error, size)
                return
            held.seek(0)
            raw = RawFile(cast("IO[bytes]", held), size, PurePosixPath(name), self._format, lambda _: None)
            plain = self._format.is_plain_text(raw.path)
            whole = plain or self._format.is_document(raw.path)
            try:
                for each, values in (self._one_text if plain else self._format.read)(raw.file, raw.path):
                    place = str(each)
                    if whole and not isinstance(values, Unreadable):
                        yield f"{shown}:{place}", Whole(values, plain=plain)
                    else:
                        yield f"{shown}:{place}", values
            except (*DAMAGED, pa.ArrowException) as error:
                yield f"{shown}:{place}+", rest_of_damaged(error, raw.unread(rows=place != "0"))

    def _one_text(self, file: IO[bytes], path: PurePosixPath) -> Iterator[Raw]:
        """The row of a member that is one text, unless it is too large to be held: few bytes can stand for it."""
        held = io.BytesIO(file.read(_TEXT_BYTES))
        if more := sum(map(len, iter(lambda: file.read(_CHUNK), b""))):
            size = len(held.getbuffer()) + more
            yield 1, Unreadable(BadRowReason.too_large, escaped(held.getvalue()[:EXCERPT]), num_bytes=size)
            return
        yield from self._format.read(held, path)


def _size_of_rest(file: IO[bytes]) -> int:
    """How many bytes can still be read."""
    size = 0
    with contextlib.suppress(*_BROKEN):
        while data := file.read(_CHUNK):
            size += len(data)
    return size


Member = tuple[str, int, Callable[[], IO[bytes]] | None]
"""The name, unpacked size and content of a member; no content of what is no regular file."""


def _zipped(file: IO[bytes]) -> Iterator[Member]:
    """The members of a zip archive."""
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                regular = not stat.S_ISLNK(info.external_attr >> 16)
                yield info.filename, info.file_size, functools.partial(_unzipped, archive, info) if regular else None


def _unzipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> IO[bytes]:
    if info.flag_bits & _ENCRYPTED:
        raise zipfile.BadZipFile(LOCKED)
    return archive.open(info)


def _tarred(file: IO[bytes]) -> Iterator[Member]:
    """The members of a tar archive, compressed or not, which is read from its beginning to its end."""
    with tarfile.open(fileobj=file, mode="r|*", tarinfo=_Header) as archive:
        for info in archive:
            if not info.isdir():
                yield info.name, info.size, functools.partial(_extracted, archive, info) if info.isreg() else None
    while file.read(_CHUNK):  # whose end has the checksum, where the archive is compressed
        pass


class _Header(tarfile.TarInfo):
    """A member's header; `tarfile` takes one that it can't read, or that is not there, for the end of the archive."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        """The next header. Raises ReadError where it is no header, and not the mark of an archive's end either."""
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"{error}, where a member or the end of the archive should be") from error


def _extracted(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    member = archive.extractfile(info)
    assert member is not None  # it is a regular file
    return member
