"""Text in any encoding as a stream of UTF-8.

UTF-8 wins wherever a file decodes as it. Else a byte-order mark or the places of NUL bytes tell UTF-16 and UTF-32, and
of the other encodings charset-normalizer ranks the likely ones by lines from all over the file; the first that can
mean every byte of it is taken. The same bytes always give the same answer.
"""

from __future__ import annotations

import codecs
import io
import re
import unicodedata
from collections.abc import Iterator
from typing import IO, Any

from langmill.data.compression import DAMAGED, is_of_machine
from langmill.errors import FieldError

HEAD = 2**16
"""Bytes that show a file's kind."""
_CHUNK = 2**18
_EVIDENCE = 2**17  # bytes of lines that charset-normalizer sees
_EVIDENCE_A_CHUNK = 2**13  # so that they come from all over the file
_LINES = re.compile(rb"[^\n\r]*[\x80-\xff][^\n\r]*[\n\r]")
_BINARY_SHARE = 0.1  # of control characters: text has hardly any
_MARKS = {  # the longer ones first: UTF-32's little-endian mark begins with UTF-16's
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# What files of data are found in; the first of those that explain a file equally well is taken. None of the WHATWG's
# encodings is missing but those that only mail had.
_CANDIDATES = (
    "cp1252", "cp1250", "cp1251", "cp932", "gb18030", "big5", "euc_jp", "cp949", "koi8_r", "cp1254", "cp1253", "cp1255",
    "cp1256", "cp1257", "cp1258", "cp874", "iso8859_2", "iso8859_5", "iso8859_7", "iso8859_15", "koi8_u", "mac_roman",
    "cp850", "cp437", "cp852", "cp866",
)  # fmt: skip
_ODD_SHARE = 0.01  # of characters that no text has, in text that is read as what it is
_BAD = "\udcff"  # stands for bytes that the encoding has no meaning for; UTF-8 is made with a byte 0xff for it


def _undecodable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return _BAD, error.end


codecs.register_error("langmill.undecodable", _undecodable)


def encoding_named(name: str) -> str:
    """Python's name of an encoding that somebody wrote: `utf-8` for `UTF8`, `cp1252` for `windows-1252`.

    Raises FieldError where there is none of this name, or it is none of text.
    """
    try:
        found = codecs.lookup(name)
        "a".encode(name)  # refuses what is no encoding of text, as rot13
    except (LookupError, ValueError) as error:
        said = f"encoding is {name!r}; allowed are names of Python's encodings, as utf-8, utf-16, cp1252 or cp1251"
        raise FieldError(said, "encoding", "unknown") from error
    return "utf-8" if found.name == "utf-8-sig" else found.name


class Utf8Stream(io.RawIOBase):
    """The text of a file as UTF-8, decoded as it is read.

    Bytes that the encoding has no meaning for come out as bytes that are not UTF-8, so that the row they stand in is
    found to be undecodable; without an encoding of its own, UTF-8 passes through as it is.

    Args:
        file: The content; it can be read again from a place (`seek`), which happens where it is not UTF-8.
        encoding: What it is in; None finds that out, as far as it is read.

    Attributes:
        encoding: What it is read as.
    """

    def __init__(self, file: IO[bytes], encoding: str | None = None) -> None:
        self._file = file
        self._decoder: codecs.IncrementalDecoder | None = None
        self._pending = memoryview(b"")
        self._place = 0
        self._ended = False
        self._decided = False
        self.encoding = "utf-8"
        if encoding is not None:
            self._decide(encoding)

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Put the next bytes into a buffer; see `io.RawIOBase`."""
        while not self._pending and not self._ended:
            self._fill()
        count = min(len(buffer), len(self._pending))
        buffer[:count] = self._pending[:count]
        self._pending = self._pending[count:]
        return count

    def _fill(self) -> None:
        data = self._file.read(_CHUNK)
        self._ended = not data
        if not self._decided and data:
            self._look_at(data)
        self._place += len(data)
        if self._decoder is None:
            self._pending = memoryview(data)
        else:
            text = self._decoder.decode(data, final=self._ended)
            self._pending = memoryview(text.encode("utf-8", "surrogateescape"))

    def _look_at(self, data: bytes) -> None:
        """Decide on the encoding by the first bytes that tell; ASCII means the same in all that are left."""
        if self._place == 0 and (found := _by_head(data[:HEAD])):
            self._decide(found)
        elif not data.isascii():
            self._decide(self._beyond_ascii(data))

    def _beyond_ascii(self, data: bytes) -> str:
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            text = decoder.decode(data)
        except UnicodeDecodeError:
            pass
        else:
            if not text.isascii():  # no other encoding's text is UTF-8 by chance for so long
                return "utf-8"
        if is_binary(data[:HEAD]):
            return "utf-8"
        self._file.seek(self._place)
        found = _by_evidence(self._file, self._place)
        self._file.seek(self._place + len(data))
        return found

    def _decide(self, encoding: str) -> None:
        self._decided = True
        self.encoding = encoding
        if encoding != "utf-8":
            self._decoder = codecs.getincrementaldecoder(encoding)("langmill.undecodable")


def is_binary(head: bytes) -> bool:
    """Whether the beginning of a file is no text of any encoding without NUL bytes."""
    controls = sum(head.count(byte) for byte in range(32) if byte not in b"\t\n\r\x0b\x0c\x1b")
    return controls > _BINARY_SHARE * len(head)


def _by_head(head: bytes) -> str | None:
    """The encoding that a byte-order mark or the places of NUL bytes tell."""
    return next((name for mark, name in _MARKS.items() if head.startswith(mark)), None) or _by_nuls(head)


def _by_nuls(head: bytes) -> str | None:
    """UTF-16 or UTF-32 without a mark, by the NULs that are the upper bytes of Latin letters, blanks and line ends."""
    quarter = len(head) // 4
    if quarter < 2:
        return None
    nuls = [head[offset::4].count(0) / quarter for offset in range(4)]
    if sum(share > 0.8 for share in nuls) == 3:
        return "utf-32-le" if nuls[0] <= 0.8 else "utf-32-be"
    even, odd = nuls[0] + nuls[2], nuls[1] + nuls[3]
    if max(even, odd) > 0.8 and min(even, odd) < 0.08:
        return "utf-16-be" if even > odd else "utf-16-le"
    return None if 0 not in head or _is_utf8(head) else _by_other_scripts(head)


def _by_other_scripts(head: bytes) -> str | None:
    """UTF-16 without a mark of scripts whose letters have no NULs, but whose blanks and line ends have."""
    for name in ("utf-16-le", "utf-16-be"):
        text = codecs.getincrementaldecoder(name)("replace").decode(head)
        odd = sum(unicodedata.category(sign) in ("Cn", "Co", "Cc") and not sign.isspace() for sign in text)
        if odd + text.count("\ufffd") <= _ODD_SHARE * len(text):
            return name
    return None


def _is_utf8(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def _by_evidence(file: IO[bytes], place: int) -> str:
    """The encoding of a file that is no whole UTF-8, from a place on to its end."""
    continuations, bad, lines = _looked_through(file)
    if bad <= continuations:  # UTF-8 with damage: the damaged rows are said to be so
        return "utf-8"
    for name in _ranked(lines):
        file.seek(place)
        if _decodes(file, name):
            return name
    return "utf-8"


def _looked_through(file: IO[bytes]) -> tuple[int, int, bytes]:
    """A file's continuation bytes of UTF-8, its bytes that are none, and some of its lines beyond ASCII."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    num_bytes = characters = meant = 0
    evidence: list[bytes] = []
    size = 0
    tail = b""
    for data in _chunks(file):
        text = decoder.decode(data)
        num_bytes += len(data)
        characters += len(text)
        meant += len(text) if text.isascii() else len(text.encode("utf-8", "ignore"))
        lines = tail + data if len(tail) < _EVIDENCE_A_CHUNK else data
        taken = 0
        for found in _LINES.finditer(lines):
            taken += len(found[0])
            if taken > _EVIDENCE_A_CHUNK and evidence:
                break
            evidence.append(found[0][:_EVIDENCE_A_CHUNK])
        size += taken
        if size > _EVIDENCE:
            evidence, size = evidence[::2], size // 2
        tail = lines[max(lines.rfind(b"\n"), lines.rfind(b"\r")) + 1 :][-_EVIDENCE_A_CHUNK:]
    characters += len(decoder.decode(b"", final=True))  # of a sequence that the end cuts: none of them is meant
    bad = num_bytes - meant
    return meant - (characters - bad), bad, b"".join([*evidence, tail])


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    """The content, up to a damage: whoever reads the rows meets that again, behind the rows before it."""
    try:
        while data := file.read(_CHUNK):
            yield data
    except DAMAGED as error:
        if is_of_machine(error):
            raise


def _ranked(lines: bytes) -> list[str]:
    """The encodings that could be a text's, the best guess first."""
    from charset_normalizer import from_bytes

    matches = from_bytes(lines, steps=20, cp_isolation=list(_CANDIDATES), preemptive_behaviour=False)
    figures = {name: (match.chaos, -match.coherence) for match in matches for name in match.could_be_from_charset}
    known = [name for name in _CANDIDATES if name in figures]
    return sorted(known, key=figures.__getitem__)  # which keeps the order of those that are equal


def _decodes(file: IO[bytes], name: str) -> bool:
    decoder = codecs.getincrementaldecoder(name)()
    try:
        for data in _chunks(file):
            decoder.decode(data)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True
