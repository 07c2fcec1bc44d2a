"""What a reader makes of a raw file: rows of named values, and bad rows with their place and the reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

EXCERPT = 200
"""Characters of a bad row that are kept."""


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
    too_large = "too_large"
    """Larger than the format's options allow."""
    unreadable_file = "unreadable_file"
    """The rest of a file, or all of it, is damaged."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that is put aside."""

    where: str
    """As a document's id: `file:line`, `file:row` for Parquet."""
    reason: BadRowReason
    row: str
    """The beginning of the raw row, as far as it can be shown."""


class Unreadable(Exception):
    """What stands in the place of a row's values, or is raised for them, when the row can't be used."""

    def __init__(self, reason: BadRowReason, row: object) -> None:
        super().__init__(reason)
        self.reason = reason
        self.row = row if isinstance(row, str) else repr(row)


Values = Mapping[str, object]
Place = int | str
"""A row's number in its file: a line, or a count where lines mean nothing; text where one line gives several rows."""
Raw = tuple[Place, Values | Unreadable]
"""A row's place and its fields, or what is wrong with it."""


def shown(text: str) -> str:
    """Text that any file can hold: lone surrogates, as in undecodable file names, are written out."""
    return text.encode("utf-8", "backslashreplace").decode()


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
