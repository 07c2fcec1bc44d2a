"""A raw file, opened as its format wants it: decompressed, text as UTF-8, and measured, so that no byte goes unseen."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from langmill.data.compression import COMPRESSIONS, open_decompressed
from langmill.data.encoding import HEAD, Utf8Stream
from langmill.data.formats.base import Format
from langmill.data.rows import Values

_BUFFER = 2**18


class _Counted(io.RawIOBase):
    """A file that says how many of its bytes have been read for the first time."""

    def __init__(self, file: IO[bytes], on_bytes: Callable[[int], object]) -> None:
        self._file = file
        self._on_bytes = on_bytes
        self._furthest = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        if (place := self._file.tell()) > self._furthest:
            self._on_bytes(place - self._furthest)
            self._furthest = place
        return len(data)


class _Measured(io.RawIOBase):
    """A file's content, as far as it has been read.

    What can still be read before a damage is read: a larger request is answered by what is there.

    Attributes:
        size: Bytes that have been read.
        tail: Those of them that follow the last end of a line, or of an item of JSON.
    """

    def __init__(self, content: IO[bytes]) -> None:
        self._content = content
        self._read: Callable[[int], bytes] = getattr(content, "read1", content.read)
        self._place = self.size = self.tail = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._content.seekable()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = self._content.seek(offset, whence)
        self.tail = 0
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: Any) -> int:
        data = self._read(len(buffer))
        buffer[: len(data)] = data
        self._place += len(data)
        self.size = max(self.size, self._place)
        end = max(data.rfind(b"\n"), data.rfind(b"\r"), data.rfind(b"}"))
        self.tail = self.tail + len(data) if end < 0 else len(data) - end - 1
        return len(data)


class RawFile:
    """A raw file that is being read.

    Attributes:
        file: Its content, decompressed, and in UTF-8 where it is text.
        path: Its path below the raw folder without the ending of its compression.
    """

    def __init__(
        self, raw: IO[bytes], size: int, relative: PurePosixPath, file_format: Format, on_bytes: Callable[[int], object]
    ) -> None:
        self._size = size
        self._raw = io.BufferedReader(_Counted(raw, on_bytes), _BUFFER)
        compression = relative.suffix.lower()
        self.path = relative.with_suffix("") if compression in COMPRESSIONS else relative
        self._content = _Measured(open_decompressed(self._raw, compression))
        content = cast("IO[bytes]", self._content)
        self._text = Utf8Stream(content, file_format.encoding) if file_format.is_text(relative) else None
        self.file = io.BufferedReader(self._text or self._content, HEAD if self._text else _BUFFER)

    @property
    def encoding(self) -> str | None:
        """What its text is read as; None where it is no text."""
        return self._text.encoding if self._text else None

    def beginning(self) -> Values:
        """Read the beginning of a file that is one text, as a row, to guess what it is."""
        return {"text": self.file.read(HEAD).decode("utf-8-sig", "replace")}

    def unread(self, *, rows: bool) -> int:
        """About how many bytes of the content of a damaged file no row was made of, at least 1.

        They are those that were read after the last whole line, and those of the file behind the damage, which would
        have become more by decompression as those before it did.

        Args:
            rows: Whether rows were made of what stands before the damage.
        """
        if not self._content.size:
            return max(1, self._size)
        used = self._raw.tell()
        behind = max(0, self._size - used)
        grown = self._content.size / used
        return max(1, round(behind * grown) + (self._content.tail if rows else self._content.size))


@contextlib.contextmanager
def open_raw(
    path: Path, relative: PurePosixPath, file_format: Format, on_bytes: Callable[[int], object] = lambda _: None
) -> Iterator[RawFile]:
    """Open a file as its format wants it.

    Args:
        path: The file.
        relative: Its path below the raw folder, by whose endings it is read.
        file_format: What reads it.
        on_bytes: Called with the bytes read since the last call, before decompression.
    """
    with path.open("rb", buffering=0) as raw:
        yield RawFile(raw, path.stat().st_size, relative, file_format, on_bytes)
