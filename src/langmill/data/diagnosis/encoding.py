"""Bytes that are no text: binary data, NULs, and single bytes in a file that else is UTF-8."""

from __future__ import annotations

import codecs

from langmill.data.diagnosis.kinds import HEAD
from langmill.data.encoding import is_binary


def no_text(data: bytes) -> str | None:
    """What else it is than text in UTF-8 but for single bytes; text in other encodings has been made that."""
    if is_binary(data[:HEAD]):
        return "The file is binary and not text; name the file that holds the texts."
    if (place := data.find(0)) >= 0:
        line = data.count(b"\n", 0, place) + 1
        return f"The file has NUL bytes, the first in line {line:,}; take them out, for example with `tr -d '\\000'`."
    return None


def bad_byte(data: bytes, *, whole: bool) -> str | None:
    """The first byte that is not UTF-8's, in a file that else is in UTF-8 and in no other encoding."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data, final=whole)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return (
            f"The file is in UTF-8, but line {line:,} has the byte 0x{data[error.start]:02x}, which means nothing "
            "there: two files in different encodings may have been joined; mend that line, or say what the file is in "
            "by format.options.encoding."
        )
    return None
