"""Files of rows, read as their ending says: .csv, .json, .jsonl, .parquet, .tsv and .txt."""

from __future__ import annotations

import csv
import io
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import IO, Literal

import pyarrow.parquet as pq

from langmill.data.formats.base import FORMATS, Format, lines_of
from langmill.data.rows import BadRowReason, Raw, Unreadable, Values, escaped, is_text

_RECORD_CHARACTERS = 2**24  # of one CSV record; a longer one is a quotation mark that is never closed


@FORMATS.register("auto")
class Auto(Format):
    """Tables and lines of named values; a .txt file is one row with the field `text`.

    In a .tsv file a quotation mark is a sign like any other, as the media type text/tab-separated-values has it: one at
    the beginning of a cell would join all rows up to the next one. `quoted_tsv` is for files written otherwise.
    """

    def read(self, file: IO[bytes], path: PurePosixPath) -> Iterator[Raw]:
        """The rows of one file; see `Format.read`."""
        return _READERS[str(self.ending(path))](file)

    def is_plain_text(self, path: PurePosixPath) -> bool:
        """Whether it is a .txt file."""
        return self.ending(path) == ".txt"


def _read_txt(file: IO[bytes]) -> Iterator[Raw]:
    data = file.read()
    try:
        yield 1, {"text": data.decode("utf-8-sig")}
    except UnicodeDecodeError:
        yield 1, Unreadable(BadRowReason.undecodable, escaped(data))


def _read_json(file: IO[bytes]) -> Iterator[Raw]:
    """An array of objects, each a row; it is read whole, so large data had better be .jsonl."""
    yield from enumerate(json_array(file.read()), start=1)


def json_array(data: bytes) -> list[Values | Unreadable]:
    """The objects of a JSON file that is an array of them, and what stands in the place of the others."""
    value = json_value(data)
    if isinstance(value, Unreadable):
        return [value]
    if not isinstance(value, list):
        return [Unreadable(BadRowReason.unexpected_shape, value)]
    return [item if isinstance(item, dict) else Unreadable(BadRowReason.not_an_object, item) for item in value]


def json_value(data: bytes) -> object:
    """What JSON text stands for, or an `Unreadable` that says why it stands for nothing."""
    try:
        return _DECODER.decode(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return Unreadable(BadRowReason.undecodable, escaped(data))
    except RepeatedNameError as error:
        return Unreadable(BadRowReason.repeated_name, f"{error} twice in {escaped(data)}")
    except (ValueError, RecursionError):  # not JSON, a number of too many digits, or nested too deeply
        return Unreadable(BadRowReason.corrupt, data.decode("utf-8-sig"))


class RepeatedNameError(ValueError):
    """An object has a key twice; Python would keep the last value alone."""


def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object of its names and values (`object_pairs_hook`).

    Raises:
        RepeatedNameError: A name stands twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        raise RepeatedNameError(repeated([name for name, _ in pairs]))
    return found


def repeated(names: Sequence[str]) -> str | None:
    """The first of the names that stands twice among them."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


_DECODER = json.JSONDecoder(object_pairs_hook=unique)


def _read_jsonl(file: IO[bytes]) -> Iterator[Raw]:
    for number, data in enumerate(lines_of(file), start=1):
        if data.strip():
            yield number, json_object(data)


def json_object(data: bytes) -> Values | Unreadable:
    """The fields of a line of JSON lines."""
    value = json_value(data)
    if isinstance(value, dict | Unreadable):
        return value
    return Unreadable(BadRowReason.not_an_object, data.decode())


def read_table(file: IO[bytes], delimiter: str, *, quoted: bool) -> Iterator[Raw]:
    """The rows of a table under a header, placed by their first line.

    Args:
        file: The content.
        delimiter: What stands between cells.
        quoted: Whether quotation marks hold a cell together, with delimiters and ends of lines in it.
    """
    csv.field_size_limit(sys.maxsize)
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    lines = _RecordLines(text)
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    reader = csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=True)
    header: list[str] | None = None
    while True:
        lines.start_record()
        try:
            cells = next(reader, None)
        except csv.Error:
            if header is None:
                yield lines.number, Unreadable(BadRowReason.unreadable_file, "".join(lines.record))
                return
            # A stray quotation mark swallows what follows up to the next one: give up its own line only.
            yield lines.number, Unreadable(BadRowReason.corrupt, lines.give_back())
            continue
        if cells is None:
            return
        if not cells:
            continue
        if header is None:
            header = [name.strip() or f"column {number}" for number, name in enumerate(cells, start=1)]
            if name := repeated(header):
                yield lines.number, Unreadable(BadRowReason.repeated_name, f"{name} twice in {', '.join(header)}")
                return
        elif len(cells) != len(header):
            yield lines.number, Unreadable(BadRowReason.ragged, lines.give_back())
        elif any(not is_text(cell) for cell in cells):
            data = "".join(lines.record).encode(errors="surrogateescape")
            yield lines.number, Unreadable(BadRowReason.undecodable, escaped(data))
        else:
            yield lines.number, dict(zip(header, cells, strict=True))


class _RecordLines:
    """Lines for `csv.reader` that remembers which ones the present record took, so that they can be given back.

    Attributes:
        record: The lines of the present record.
        number: The line number of its first line.
    """

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._returned: list[str] = []
        self.record: list[str] = []
        self._size = 0
        self.number = 1

    def __iter__(self) -> _RecordLines:
        return self

    def __next__(self) -> str:
        line = self._returned.pop() if self._returned else next(self._lines)
        self.record.append(line)
        self._size += len(line)
        if self._size > _RECORD_CHARACTERS:
            raise csv.Error("a quotation mark is never closed")
        return line

    def start_record(self) -> None:
        """The next line begins a record."""
        self.number += len(self.record)
        self.record = []
        self._size = 0

    def give_back(self) -> str:
        """Keep the record's first line, which is returned, and read the others again as records of their own."""
        first, *others = self.record
        self._returned.extend(reversed(others))
        self.record = [first]
        return first


def _read_parquet(file: IO[bytes]) -> Iterator[Raw]:
    number = 0
    with tempfile.TemporaryFile() as seekable:
        while chunk := file.read(2**20):
            seekable.write(chunk)
        table = pq.ParquetFile(seekable)
        if name := repeated(table.schema_arrow.names):
            yield 1, Unreadable(BadRowReason.repeated_name, f"{name} twice in {', '.join(table.schema_arrow.names)}")
            return
        for batch in table.iter_batches(batch_size=1000):
            for values in batch.to_pylist():
                number += 1
                yield number, values


_READERS: dict[str, Callable[[IO[bytes]], Iterator[Raw]]] = {
    ".csv": lambda file: read_table(file, ",", quoted=True),
    ".json": _read_json,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
    ".tsv": lambda file: read_table(file, "\t", quoted=False),
    ".txt": _read_txt,
}
Auto.file_endings = frozenset(_READERS)
