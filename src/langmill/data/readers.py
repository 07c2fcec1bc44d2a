"""Rows from files: .txt, .jsonl, .csv, .tsv and .parquet, plain or compressed, as a stream.

A row that can't be read is never fatal and never lost: it comes as a `BadRow` with its place and the reason.
"""

from __future__ import annotations

import csv
import io
import json
import math
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from langmill.config.sections import Fields
from langmill.data.compression import COMPRESSIONS, DAMAGED, open_decompressed
from langmill.data.document import Document
from langmill.errors import DataError

EXCERPT = 200
"""Characters of a bad row that are kept."""
_RECORD_CHARACTERS = 2**24  # of one CSV record; a longer one is a quotation mark that is never closed


class BadRowReason(StrEnum):
    """Why a row can't be read."""

    undecodable = "undecodable"
    """Bytes that are not UTF-8."""
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


class _Unreadable(Exception):
    """What `_values` and `_document` raise for one row."""

    def __init__(self, reason: BadRowReason, row: object) -> None:
        super().__init__(reason)
        self.reason = reason
        self.row = row if isinstance(row, str) else repr(row)


Values = Mapping[str, object]
Raw = tuple[int, Values | _Unreadable]
"""A row's number and its fields, or what is wrong with it."""


def readable_files(folder: Path) -> list[Path]:
    """The files below a folder that a reader exists for, sorted by path; hidden files and folders are left out."""
    found = (path for path in folder.rglob("*") if path.is_file() and is_readable(path.relative_to(folder)))
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def is_readable(path: Path) -> bool:
    """Whether there is a reader for a file of this name."""
    return format_of(path) is not None and not any(part.startswith(".") for part in path.parts)


def format_of(path: Path) -> str | None:
    """The ending that decides how a file is read (`.jsonl` for `a.jsonl.gz`); None where there is no reader."""
    endings = [ending.lower() for ending in path.suffixes]
    if endings and endings[-1] in COMPRESSIONS:
        endings.pop()
    return endings[-1] if endings and endings[-1] in _READERS else None


def endings() -> str:
    """The file endings that can be read, for messages."""
    return f"{', '.join(sorted(_READERS))}, each plain or with {', '.join(sorted(COMPRESSIONS))}"


def read_rows(
    folder: Path, fields: Fields, on_bytes: Callable[[int], object] | None = None
) -> Iterator[Document | BadRow]:
    """Read every row below a folder, in a stable order.

    Args:
        folder: The raw files.
        fields: Which field of a row is what.
        on_bytes: Called with the bytes read since the last call, before decompression.

    Yields:
        Documents with their text as it stands in the file (not yet cleaned), and the rows that are none.

    Raises:
        DataError: No file can be read, or no row has a field that `fields` names; the message lists the known fields.
    """
    files = readable_files(folder)
    if not files:
        raise DataError(f"{folder} holds no file that can be read; readable are {endings()}.")
    known: set[str] = set()
    tabular = False
    for path in files:
        name = shown(path.relative_to(folder).as_posix())
        plain_text = format_of(path) == ".txt"
        tabular |= not plain_text
        wanted = Fields("text", None, None, []) if plain_text else fields
        for number, values in _read_file(path, on_bytes):
            where = f"{name}:{number}"
            try:
                if isinstance(values, _Unreadable):
                    raise values
                known.update(values)
                yield _document(where, values, wanted)
            except _Unreadable as problem:
                yield BadRow(where, problem.reason, shown(problem.row[:EXCERPT]))
    if known:
        _require_known(fields, known, folder, text_is_a_field=tabular)


def shown(text: str) -> str:
    """Text that any file can hold: lone surrogates, as in undecodable file names, are written out."""
    return text.encode("utf-8", "backslashreplace").decode()


def _require_known(fields: Fields, known: set[str], folder: Path, *, text_is_a_field: bool) -> None:
    """Refuse names that no row has; a .txt file has no fields, so there `fields.text` can be anything."""
    named = [("label", fields.label), ("target", fields.target), *(("metadata", name) for name in fields.metadata)]
    if text_is_a_field:
        named.insert(0, ("text", fields.text))
    for key, name in named:
        if name is not None and name not in known:
            raise DataError(
                f"No row in {folder} has a field {name!r}, which fields.{key} of the corpus names; "
                f"known are {shown(', '.join(sorted(known)))}."
            )


# One row -------------------------------------------------------------------------------------------------------------


def _document(where: str, values: Values, fields: Fields) -> Document:
    text = values.get(fields.text)
    if text is None:
        raise _Unreadable(BadRowReason.missing_text, _compact(values))
    target = values.get(fields.target) if fields.target else None
    if not isinstance(text, str) or not isinstance(target, str | None):
        raise _Unreadable(BadRowReason.wrong_type, _compact(values))
    label = values.get(fields.label) if fields.label else None
    if isinstance(label, list | dict):
        raise _Unreadable(BadRowReason.wrong_type, _compact(values))
    metadata = {name: _as_text(values.get(name)) or "" for name in fields.metadata}
    return Document(where, text, _as_text(label), target, metadata)


def _as_text(value: object) -> str | None:
    """A label or a metadata field as text; None for nothing, an empty cell included."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = _compact(value) if isinstance(value, list | dict) else str(value).strip()
    return (text if _is_text(text) else shown(text)) or None


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=repr)


# One file ------------------------------------------------------------------------------------------------------------


class _Counted(io.RawIOBase):
    """A file that says how many bytes have been read from it."""

    def __init__(self, file: IO[bytes], on_bytes: Callable[[int], object]) -> None:
        self._file = file
        self._on_bytes = on_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self._on_bytes(len(data))
        return len(data)


def _read_file(path: Path, on_bytes: Callable[[int], object] | None) -> Iterator[Raw]:
    number = 0
    try:
        with path.open("rb", buffering=0) as raw:
            counted = io.BufferedReader(_Counted(raw, on_bytes or (lambda _: None)), 2**18)
            ending = path.suffix.lower()
            with open_decompressed(counted, ending) as file:
                for number, values in _READERS[str(format_of(path))](file):
                    yield number, values
    except (*DAMAGED, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the machine's fault (no space, no permission), not the file's
        yield number + 1, _Unreadable(BadRowReason.unreadable_file, f"{type(error).__name__}: {error}")


def first_rows(path: Path, limit: int) -> list[Values]:
    """The first readable rows of a file with all their fields, for a guess at what they mean."""
    readable = (values for _, values in _read_file(path, None) if not isinstance(values, _Unreadable))
    return list(islice(readable, limit))


def _read_txt(file: IO[bytes]) -> Iterator[Raw]:
    data = file.read()
    try:
        yield 1, {"text": data.decode("utf-8-sig")}
    except UnicodeDecodeError:
        yield 1, _Unreadable(BadRowReason.undecodable, _escaped(data))


def _read_jsonl(file: IO[bytes]) -> Iterator[Raw]:
    for number, line in enumerate(file, start=1):
        data = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        if data.strip():
            yield number, _json_values(data)


def _json_values(data: bytes) -> Values | _Unreadable:
    try:
        values = json.loads(data.decode())
    except UnicodeDecodeError:
        return _Unreadable(BadRowReason.undecodable, _escaped(data))
    except (ValueError, RecursionError):  # not JSON, a number of too many digits, or nested too deeply
        return _Unreadable(BadRowReason.corrupt, data.decode())
    return values if isinstance(values, dict) else _Unreadable(BadRowReason.not_an_object, data.decode())


def _read_csv(file: IO[bytes], delimiter: str = ",") -> Iterator[Raw]:
    csv.field_size_limit(sys.maxsize)
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    lines = _RecordLines(text)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        lines.start_record()
        try:
            cells = next(reader, None)
        except csv.Error:
            if header is None:
                yield lines.number, _Unreadable(BadRowReason.unreadable_file, "".join(lines.record))
                return
            # A stray quotation mark swallows what follows up to the next one: give up its own line only.
            yield lines.number, _Unreadable(BadRowReason.corrupt, lines.give_back())
            continue
        if cells is None:
            return
        if not cells:
            continue
        if header is None:
            header = [name.strip() for name in cells]
        elif len(cells) != len(header):
            yield lines.number, _Unreadable(BadRowReason.ragged, lines.give_back())
        elif any(not _is_text(cell) for cell in cells):
            data = "".join(lines.record).encode(errors="surrogateescape")
            yield lines.number, _Unreadable(BadRowReason.undecodable, _escaped(data))
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
        for batch in pq.ParquetFile(seekable).iter_batches(batch_size=1000):
            for values in batch.to_pylist():
                number += 1
                yield number, values


_READERS: dict[str, Callable[[IO[bytes]], Iterator[Raw]]] = {
    ".csv": _read_csv,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
    ".tsv": lambda file: _read_csv(file, "\t"),
    ".txt": _read_txt,
}


def _is_text(cell: str) -> bool:
    if cell.isascii():
        return True
    try:
        cell.encode()
    except UnicodeEncodeError:
        return False
    return True


def _escaped(data: bytes) -> str:
    """Undecodable bytes as text, the bad ones written out in hexadecimal."""
    return data[: 4 * EXCERPT].decode("utf-8", "backslashreplace")
