"""What a reader makes of a raw file: rows of named values, and bad rows with their place and the reason."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
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
    excluded_label = "excluded_label"
    """A label that `labels.map` leaves out."""
    unexpected_shape = "unexpected_shape"
    """The file or row has not the shape that the corpus's format asks for."""
    unsupported = "unsupported"
    """What an archive or a crawl holds beside what can be read; one row for all of a kind."""
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


LEFT_OUT = frozenset(
    {BadRowReason.excluded_label, BadRowReason.unfinished, BadRowReason.damaged_text, BadRowReason.unsupported}
)
"""Reasons of rows that were read, and that the settings or their own file leave out."""


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
        """UTF-8 bytes of its text and its target, as they were read."""
        return utf8_bytes(self.text) + (utf8_bytes(self.target) if self.target else 0)


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that is quarantined."""

    where: str
    """Its place, as a row's."""
    reason: BadRowReason
    row: str
    """The beginning of the raw row, as far as it can be shown."""
    num_bytes: int = field(default=0, compare=False)
    """Bytes of the raw row; of the rest of a damaged file, its bytes that were not read."""
    file: str = field(default="", compare=False)
    """The raw file, where a row of an archive's member has the archive."""


class Unreadable(Exception):
    """What stands in the place of a row's values, or is raised for them, when the row can't be used.

    Args:
        reason: Why.
        row: The raw row, or what there is of it.
        num_bytes: Bytes of the raw row; None where `row` is all of it.
        refusal: What makes the whole corpus unfit to be read, and what to do, to follow the file's name; None where
            the other rows are good without this one.
    """

    def __init__(
        self, reason: BadRowReason, row: object, *, num_bytes: int | None = None, refusal: str | None = None
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.row = row if isinstance(row, str) else _short.repr(row)
        self.num_bytes = _num_bytes(row) if num_bytes is None else num_bytes
        self.refusal = refusal


Values = Mapping[str, object]
Place = int | str
"""A row's number in its file: a line, or a count where lines mean nothing; text where one line gives several rows."""
Raw = tuple[Place, Values | Unreadable]
"""A row's place and its fields, or what is wrong with it."""


class Whole(dict[str, object]):
    """The values of a file in an archive whose text is its field `text`, whichever the corpus names for its tables."""

    def __init__(self, values: Values, *, plain: bool) -> None:
        super().__init__(values)
        self.plain = plain
        """Whether the file is nothing but a text, so that the corpus's metadata mean nothing there either."""


def utf8_bytes(text: str) -> int:
    """How many bytes UTF-8 has for a text; a lone surrogate, which it has none for, counts as three."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _num_bytes(row: object) -> int:
    """About how many bytes a row's values take as JSON; what stands in it twice, as YAML can have it, counts once."""
    count, seen, waiting = 0, set[int](), [row]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            count += utf8_bytes(value)
        elif isinstance(value, bytes):
            count += len(value)
        elif isinstance(value, Mapping | list | tuple):
            if id(value) not in seen:
                seen.add(id(value))
                count += 2 * len(value)
                waiting += [*value, *value.values()] if isinstance(value, Mapping) else value
        else:
            count += 4
    return count


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
