"""Bytes that are no UTF-8: another encoding, binary data, NULs, single bytes."""

from __future__ import annotations

import codecs

from langmill.data.diagnosis.kinds import HEAD

_BINARY_SHARE = 0.1  # of control characters: text has hardly any
_UTF_MARKS = {  # the longer ones first: UTF-32's little-endian mark begins with UTF-16's
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def wrong_encoding(data: bytes) -> str | None:
    """What else it is than text that is UTF-8 but for single bytes."""
    head = data[:HEAD]
    encoding = next((name for mark, name in _UTF_MARKS.items() if head.startswith(mark)), None) or _unmarked_utf(head)
    if encoding:
        return f"The file is encoded in {encoding}; convert it to UTF-8 with `iconv -f {encoding} -t UTF-8`."
    controls = sum(head.count(byte) for byte in range(32) if byte not in b"\t\n\r\x0b\x0c\x1b")
    if controls > _BINARY_SHARE * len(head):
        return "The file is binary and not text; name the file that holds the texts."
    if (place := data.find(0)) >= 0:
        line = data.count(b"\n", 0, place) + 1
        return f"The file has NUL bytes, the first in line {line:,}; take them out, for example with `tr -d '\\000'`."
    return None


def _unmarked_utf(head: bytes) -> str | None:
    """UTF-16 or UTF-32 without a mark, by the NULs that are the upper bytes of Latin letters, blanks and line ends."""
    quarter = len(head) // 4
    if quarter < 2:
        return None
    nuls = [head[offset::4].count(0) / quarter for offset in range(4)]
    if sum(share > 0.8 for share in nuls) == 3:
        return "UTF-32LE" if nuls[0] <= 0.8 else "UTF-32BE"
    even, odd = nuls[0] + nuls[2], nuls[1] + nuls[3]
    if max(even, odd) > 0.8 and min(even, odd) < 0.08:
        return "UTF-16BE" if even > odd else "UTF-16LE"
    return None


def bad_byte(data: bytes, *, whole: bool) -> str | None:
    """The first byte that is not UTF-8's, in a file that else is in UTF-8."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data, final=whole)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return (
            f"The file is not in UTF-8: line {line:,} has the byte 0x{data[error.start]:02x}, so it is most likely "
            "Latin-1 or Windows-1252; convert it with `iconv -f WINDOWS-1252 -t UTF-8`."
        )
    return None
