"""JSON: an object a line, or an array of objects, which is read as a stream."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import IO, Any

from langmill.data.formats.base import Chunks, lines_of
from langmill.data.formats.tables import repeated
from langmill.data.rows import EXCERPT, BadRowReason, Raw, Unreadable, Values, escaped, is_text

_CHUNK = 2**20
_ITEM_CHARACTERS = 2**27  # of one item of an array, which is held in memory
_MARGIN = 16  # characters before the end of what is read within which a fault may be the end itself
_SPACE = re.compile(r"[ \t\n\r]*")


class RepeatedNameError(ValueError):
    """An object has a key twice; Python would keep the last value alone."""


def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object of its names and values (`object_pairs_hook`).

    Raises RepeatedNameError where a name stands twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        raise RepeatedNameError(repeated([name for name, _ in pairs]))
    return found


def whole_number(digits: str) -> int | Decimal:
    """A JSON number without a fraction (`parse_int`), of however many digits; an int has 4,300 at most."""
    try:
        return int(digits)
    except ValueError:
        return Decimal(digits)


_DECODER = json.JSONDecoder(object_pairs_hook=unique, parse_int=whole_number)


def json_value(data: bytes) -> object:
    """What JSON text stands for, or an `Unreadable` that says why it stands for nothing."""
    try:
        return _DECODER.decode(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return Unreadable(BadRowReason.undecodable, escaped(data), num_bytes=len(data))
    except RepeatedNameError as error:
        return Unreadable(BadRowReason.repeated_name, f"{error} twice in {escaped(data)}", num_bytes=len(data))
    except (ValueError, RecursionError):  # not JSON, or nested too deeply
        return Unreadable(BadRowReason.corrupt, data.decode("utf-8-sig"), num_bytes=len(data))


def json_object(data: bytes) -> Values | Unreadable:
    """The fields of a line of JSON lines."""
    value = json_value(data)
    if isinstance(value, dict | Unreadable):
        return value
    return Unreadable(BadRowReason.not_an_object, data.decode(), num_bytes=len(data))


def read_json_lines(file: IO[bytes]) -> Iterator[Raw]:
    """The objects of a file with one a line, placed by line."""
    for number, data in enumerate(lines_of(file), start=1):
        if data.strip():
            yield number, json_object(data)


def read_json_array(file: IO[bytes]) -> Iterator[Raw]:
    """The objects of a file that is an array of them, placed by number; only one at a time is held in memory.

    A fault in the array costs what is left of it, which comes as one bad row.
    """
    text = _Text(file)
    if text.next_sign() != "[":
        yield 1, text.no_array()
        return
    text.place += 1
    number, sign = 1, text.next_sign()
    if sign == "]":
        yield from text.behind(number)
        return
    while True:
        try:
            yield number, text.item()
        except ValueError as error:
            yield number, text.rest(_reason(error))
            return
        number += 1
        sign = text.next_sign()
        text.place += 1
        if sign == "]":
            yield from text.behind(number)
            return
        if sign != "," or text.next_sign() in ("]", ""):
            text.place -= 1
            yield number, text.rest(BadRowReason.corrupt)
            return


class _TooLargeError(ValueError):
    """An item of an array does not end."""


def _reason(error: ValueError) -> BadRowReason:
    return BadRowReason.too_large if isinstance(error, _TooLargeError) else BadRowReason.corrupt


class _Text:
    """JSON text that is read as it is needed.

    Attributes:
        held: What has been read and not yet been used.
        place: Where in it the reading stands.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = Chunks(file)
        self._decode = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape").decode
        self._ended = False
        self._twice: list[str] = []
        self._decoder = json.JSONDecoder(object_pairs_hook=self._object, parse_int=whole_number)
        self.held = ""
        self.place = 0

    def _object(self, pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) < len(pairs):
            self._twice.append(str(repeated([name for name, _ in pairs])))
        return found

    def _more(self, size: int = 0) -> None:
        data = self._file.read(max(size, _CHUNK))
        self._ended = not data
        self.held = self.held[self.place :] + self._decode(data, self._ended)
        self.place = 0

    def next_sign(self) -> str:
        """The next character that is no white space, which is not stepped over; empty at the end."""
        while True:
            found = _SPACE.match(self.held, self.place)
            self.place = found.end() if found else self.place
            if self.place < len(self.held) or self._ended:
                return self.held[self.place : self.place + 1]
            self._more()

    def item(self) -> Values | Unreadable:
        """The array's next item. Raises ValueError where it is no JSON."""
        self.next_sign()
        while True:
            self._twice.clear()
            try:
                value, end = self._decoder.raw_decode(self.held, self.place)
            except json.JSONDecodeError as error:
                if self._ended or not self._cut(error):
                    raise
            except RecursionError as error:
                raise ValueError from error
            else:
                if end < len(self.held) or self._ended:  # a number may go on
                    return self._told(value, end)
            if len(self.held) > _ITEM_CHARACTERS:
                raise _TooLargeError
            self._more(len(self.held))  # twice as much each time, so that long items take linear time

    def _cut(self, error: json.JSONDecodeError) -> bool:
        """Whether what is wrong may be only that the text goes on."""
        return error.msg.startswith("Unterminated string") or error.pos >= len(self.held) - _MARGIN

    def _told(self, value: Any, end: int) -> Values | Unreadable:
        written = self.held[self.place : end]
        self.place = end
        if not is_text(written):
            return _bad(BadRowReason.undecodable, written)
        if self._twice:
            return _bad(BadRowReason.repeated_name, written, f"{self._twice[0]} twice in ")
        return value if isinstance(value, dict) else _bad(BadRowReason.not_an_object, written)

    def rest(self, reason: BadRowReason) -> Unreadable:
        """All that is left of the file, as one bad row."""
        self.held, self.place = self.held[self.place :], 0
        shown, size = self.held[:EXCERPT], _size(self.held)
        while data := self._file.read(_CHUNK):
            size += len(data)
        return _bad(reason, shown, num_bytes=size)

    def no_array(self) -> Unreadable:
        """What stands in the place of an array."""
        try:
            self.item()
        except ValueError as error:
            return self.rest(_reason(error) if is_text(self.held) else BadRowReason.undecodable)
        self.place = 0  # all of it is what is wrong
        return self.rest(BadRowReason.unexpected_shape)

    def behind(self, number: int) -> Iterator[Raw]:
        """What stands behind the array's end, if anything does."""
        self.place += self.held.startswith("]", self.place)
        if self.next_sign():
            yield number, self.rest(BadRowReason.corrupt)


def _size(text: str) -> int:
    return len(text.encode(errors="surrogateescape"))


def _bad(reason: BadRowReason, written: str, before: str = "", *, num_bytes: int | None = None) -> Unreadable:
    data = written.encode(errors="surrogateescape")
    return Unreadable(reason, before + escaped(data), num_bytes=len(data) if num_bytes is None else num_bytes)
