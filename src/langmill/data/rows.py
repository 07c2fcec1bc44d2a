"""What a reader makes of a raw file: rows of named values, and bad rows with their place and the reason."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

EXCERPT = 200
"""Characters of a bad row that are kept."""
_UNPORTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_short = reprlib.Repr()  # bounded, since a few lines of YAML can stand for a list of a billion
_short.maxlevel, _short.maxlist, _short.maxdict, _short.maxstring, _short.maxother = 3, 10, 10, EXCERPT, EXCERPT


class BadRowReason(StrEnum):
    """Why a row can't be read, or can't be used."""

    undecodable = "undecodable"
    """Bytes that are not text in the encoding they should be in (UTF-8 where nothing else is declared)."""
    corrupt = "corrupt"
    """Not JSON, or a CSV row whose quotation marks do not fit."""
    ragged = "ragged"
    """A CSV row with more or fewer cells than the header."""
    not_an_object = "not_an_object"
    """JSON, but not an object with fields."""
    missing_text = "missing_text"
    """The text field is absent or null."""
    wrong_type = "wrong_type"
    """A field holds something else than text (or, for labels and metadata, a plain value)."""
    unknown_label = "unknown_label"
    """A label that the corpus has no name for."""
    unexpected_shape = "unexpected_shape"
    """The file or row has not the shape that the corpus's format asks for."""
    unfinished = "unfinished"
    """Its own file marks it as not done: a translation to be looked at again, the fragment of a poem."""
    damaged_text = "damaged_text"
    """The text has gaps, an editor's marks or characters of no script."""
    repeated_name = "repeated_name"
    """Two columns of a table, or two keys of an object, have one name: one of the values would be lost."""
    too_large = "too_large"
    """Larger than the format or its options allow."""
    unreadable_file = "unreadable_file"
    """The rest of a file, or all of it, is damaged."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row that can be read: what a document is made of, not yet cleaned."""

    where: str
    """Its place, for people: `file:line`, `file:row` for Parquet. It changes when a row is inserted before it."""
    text: str
    label: str | None
    target: str | None
    metadata: dict[str, str]

    @property
    def num_bytes(self) -> int:
        """UTF-8 bytes of the text and the target as read."""
        return _num_bytes(self.text) + (_num_bytes(self.target) if self.target else 0)


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that is quarantined."""

    where: str
    """Its place, as a row's."""
    reason: BadRowReason
    row: str
    """The beginning of the raw row, as far as it can be shown."""
    num_bytes: int = 0
    """Bytes of the raw row; of the damaged rest of a file, those that were not read."""


class Unreadable(Exception):
    """What stands in the place of a row's values, or is raised for them, when the row can't be used."""

    def __init__(self, reason: BadRowReason, row: object) -> None:
        super().__init__(reason)
        self.reason = reason
        self.row = row if isinstance(row, str) else _short.repr(row)


Values = Mapping[str, object]
Place = int | str
"""A row's number in its file: a line, or a count where lines mean nothing; text where one line gives several rows."""
Raw = tuple[Place, Values | Unreadable]
"""A row's place and its fields, or what is wrong with it."""


def _num_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def shown(text: str) -> str:
    """Text that any file can hold: lone surrogates, as in undecodable file names, are written out."""
    return text.encode("utf-8", "backslashreplace").decode()


def portable(name: str) -> str:
    """A file's name that every file can hold and that stays in its line.

    Bytes that are not UTF-8, control characters and ends of lines are written as in an address (`caf%E9.csv`).
    """
    return _UNPORTABLE.sub(
        lambda sign: "".join(f"%{byte:02X}" for byte in sign[0].encode("utf-8", "surrogateescape")), name
    )


def is_text(cell: str) -> bool:
    """Whether UTF-8 can write it: no lone surrogates."""
    if cell.isascii():
        return True
    try:
        cell.encode()
    except UnicodeEncodeError:
        return False
    return True


def escaped(data: bytes) -> str:
    """Undecodable bytes as text, the bad ones written out in hexadecimal."""
    return data[: 4 * EXCERPT].decode("utf-8", "backslashreplace")
