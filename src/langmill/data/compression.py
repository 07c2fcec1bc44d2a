"""Decompression that notices a file's sudden end."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from typing import IO, Any, cast

import zstandard

_CHUNK = 2**14  # small, since one byte can stand for thousands
DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, zstandard.ZstdError, OSError)
"""What reading a damaged file raises (bz2 has no class of its own)."""


LOCKED = "it is encrypted and asks for a password"
"""Why a member of an archive can't be read, to be told from damage."""


def is_of_machine(error: BaseException) -> bool:
    """Whether reading failed for the machine's sake (no space, no permission, a disk that fails), not the file's."""
    return isinstance(error, OSError) and error.errno is not None


class _ZstdFile(io.RawIOBase):
    """A .zst file of one or more frames; the library's own reader takes a file cut short for a whole one."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._pending = b""
        self._input = b""
        self._begun = False
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._file.seekable()

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place by its distance from the beginning, by reading up to it."""
        if whence != io.SEEK_SET:
            raise io.UnsupportedOperation("a compressed file's places are counted from its beginning")
        if offset < self._place:
            self._file.seek(0)
            self._frame = zstandard.ZstdDecompressor().decompressobj()
            self._pending = self._input = b""
            self._begun, self._place = False, 0
        skipped = bytearray(_CHUNK)
        while self._place < offset and self.readinto(memoryview(skipped)[: offset - self._place]):
            pass
        return self._place

    def readinto(self, buffer: Any) -> int:
        while not self._pending:
            self._input = self._input or self._file.read(_CHUNK)
            if not self._input:
                if self._begun and not self._frame.eof:
                    raise EOFError("the compressed file ends too early")
                return 0
            if self._frame.eof:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
            self._begun = True
            self._pending = self._frame.decompress(self._input)
            self._input = self._frame.unused_data if self._frame.eof else b""
        count = min(len(buffer), len(self._pending))
        buffer[:count], self._pending = self._pending[:count], self._pending[count:]
        self._place += count
        return count


_OPENERS: dict[str, Callable[[IO[bytes]], IO[bytes]]] = {
    ".bz2": bz2.BZ2File,
    ".gz": lambda file: cast("IO[bytes]", gzip.GzipFile(fileobj=file)),
    ".xz": lzma.LZMAFile,
    ".zst": lambda file: io.BufferedReader(_ZstdFile(file), _CHUNK),
}
COMPRESSIONS = frozenset(_OPENERS)
"""File endings of compressed files."""


def open_decompressed(file: IO[bytes], ending: str) -> IO[bytes]:
    """The content of a file that is compressed as its ending says; the file itself for any other ending."""
    return _OPENERS[ending](file) if ending in _OPENERS else file
