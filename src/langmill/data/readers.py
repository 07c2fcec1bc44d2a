"""Rows from raw files, plain or compressed, as a stream.

A row that can't be read is never fatal and never lost: it comes as a `BadRow` with its place and the reason. What a
file's rows are is the format's matter (`langmill.data.formats`).
"""

from __future__ import annotations

import functools
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import IO, Any

import pyarrow as pa

from langmill.config.core_yaml import as_written
from langmill.config.sections import Fields
from langmill.data.cleaning.characters import clean_characters
from langmill.data.compression import COMPRESSIONS, DAMAGED, open_decompressed
from langmill.data.diagnosis.diagnose import diagnose
from langmill.data.formats.base import Format
from langmill.data.rows import EXCERPT, BadRow, BadRowReason, Raw, Row, Unreadable, Values, is_text, portable, shown
from langmill.errors import DataError

_DIAGNOSED = 20  # files of one corpus that are looked into when something is wrong
_MISSING_LABELS = frozenset({"", "nan", "null", "<na>"})  # what programs write for nothing, in small letters
_WHOLE_NUMBER = re.compile(r"([+-]?[0-9]{1,18})\.0+")


def read_rows(
    folder: Path, file_format: Format, fields: Fields, on_bytes: Callable[[int], object] | None = None
) -> Iterator[Row | BadRow]:
    """Read every row below a folder, in a stable order.

    Args:
        folder: The raw files.
        file_format: What reads them; files that it does not read are skipped.
        fields: Which field of a row is what.
        on_bytes: Called with the bytes read since the last call, before decompression.

    Yields:
        Rows with their text as it stands in the file (not yet cleaned), and those that can't be read.

    Raises:
        DataError: No file can be read, or no row has a field that `fields` names; the message lists the known fields.
    """
    files = file_format.files(folder)
    if not files:
        raise DataError(f"{folder} holds no file that can be read; readable are {file_format.endings()}.", "missing")
    known: set[str] = set()
    tabular = False
    for path in files:
        relative = path.relative_to(folder)
        tabular |= not file_format.is_plain_text(PurePosixPath(relative))
        yield from _rows_of(path, PurePosixPath(relative), file_format, fields, known=known, on_bytes=on_bytes)
    if known:
        try:
            _require_known(fields, known, folder, text_is_a_field=tabular)
        except DataError as error:
            told = [f" {name}: {cause}" for name, cause in islice(causes(folder, file_format, files), 1)]
            error.args = ("".join([str(error), *told]),)
            raise


def _rows_of(
    path: Path,
    relative: PurePosixPath,
    file_format: Format,
    fields: Fields,
    *,
    known: set[str],
    on_bytes: Callable[[int], object] | None = None,
) -> Iterator[Row | BadRow]:
    """The rows of one file; the names of their fields go into `known`."""
    name = portable(relative.as_posix())
    wanted = Fields("text", None, {}, None, []) if file_format.is_plain_text(relative) else fields
    for place, values in _read_file(path, relative, file_format, on_bytes):
        where = f"{name}:{place}"
        try:
            if isinstance(values, Unreadable):
                raise values
            known.update(values)
            yield _row(where, values, wanted)
        except Unreadable as problem:
            yield BadRow(where, problem.reason, shown(problem.row[:EXCERPT]), problem.num_bytes)


def first_read(path: Path, file_format: Format, fields: Fields, limit: int) -> list[Row | BadRow]:
    """The first rows of one file as `read_rows` gives them, at most so many."""
    return list(islice(_rows_of(path, PurePosixPath(path.name), file_format, fields, known=set()), limit))


def _require_known(fields: Fields, known: set[str], folder: Path, *, text_is_a_field: bool) -> None:
    """Refuse names that no row has; a .txt file has no fields, so there `fields.text` can be anything."""
    named = [("label", fields.label), ("target", fields.target), *(("metadata", name) for name in fields.metadata)]
    if text_is_a_field:
        named.insert(0, ("text", fields.text))
    for key, name in named:
        if name is not None and name not in known:
            raise DataError(
                f"No row in {folder} has a field {as_written(name)}, which fields.{key} of the corpus names; "
                f"known are {shown(', '.join(sorted(known)))}.",
                "unknown",
            )


def causes(folder: Path, file_format: Format, files: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """What is wrong with files below a folder, by their names, of the first few; only what `diagnose` knows."""
    for path in islice(files, _DIAGNOSED if file_format.diagnosable else 0):
        if sentence := diagnose(path):
            yield portable(path.relative_to(folder).as_posix()), shown(sentence)


def first_rows(path: Path, file_format: Format, limit: int) -> list[Values]:
    """The first readable rows of a file with all their fields, for a guess at what they mean."""
    rows = _read_file(path, PurePosixPath(path.name), file_format, None)
    return list(islice((values for _, values in rows if not isinstance(values, Unreadable)), limit))


# One row -------------------------------------------------------------------------------------------------------------


def _row(where: str, values: Values, fields: Fields) -> Row:
    text = _present(values.get(fields.text))
    if text is None:
        raise Unreadable(BadRowReason.missing_text, _compact(values))
    target = _present(values.get(fields.target)) if fields.target else None
    if isinstance(target, list) and all(isinstance(line, str) for line in target):
        target = "\n".join(target) if target else None
    if not isinstance(text, str) or not isinstance(target, str | None):
        raise Unreadable(BadRowReason.wrong_type, _compact(values))
    label = values.get(fields.label) if fields.label else None
    if isinstance(label, list | dict):
        raise Unreadable(BadRowReason.wrong_type, _compact(values))
    label_name = _label(label)
    if fields.label_names and label_name is not None:
        label_name = fields.label_names.get(label_name)
        if label_name is None:
            raise Unreadable(BadRowReason.unknown_label, _compact(values))
    metadata = {name: _as_text(values.get(name)) or "" for name in fields.metadata}
    return Row(where, text, label_name, target, metadata)


def _present(value: object) -> object:
    """The value; None for a number that is none, which pandas writes for a value that is missing."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _label(value: object) -> str | None:
    """A label as clean text, so that one class has one name: 1, 1.0 and "1.0" are the label 1, and NaN is none."""
    text = _as_text(value)
    return None if text is None else _class_name(text)


@functools.lru_cache(2**12)
def _class_name(text: str) -> str | None:
    text = clean_characters(text)
    if text.casefold() in _MISSING_LABELS:
        return None
    number = _WHOLE_NUMBER.fullmatch(text)
    return str(int(number[1])) if number else text


def _as_text(value: object) -> str | None:
    """A label or a metadata field as text; None for nothing, an empty cell included."""
    if _present(value) is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = _compact(value) if isinstance(value, list | dict) else str(value).strip()
    return (text if is_text(text) else shown(text)) or None


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


def _read_file(
    path: Path, relative: PurePosixPath, file_format: Format, on_bytes: Callable[[int], object] | None
) -> Iterator[Raw]:
    """The rows of one file; what goes wrong with the file itself is its last row."""
    place: int | str = 0
    try:
        with path.open("rb", buffering=0) as raw:
            counted = io.BufferedReader(_Counted(raw, on_bytes or (lambda _: None)), 2**18)
            compression = path.suffix.lower()
            inner = relative.with_suffix("") if compression in COMPRESSIONS else relative
            with open_decompressed(counted, compression) as file:
                for place, values in file_format.read(file, inner):
                    yield place, values
    except (*DAMAGED, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the machine's fault (no space, no permission), not the file's
        after = place + 1 if isinstance(place, int) else f"{place}+"
        yield after, Unreadable(BadRowReason.unreadable_file, f"{type(error).__name__}: {error}")
