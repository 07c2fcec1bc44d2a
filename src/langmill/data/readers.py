"""Rows from raw files, plain or compressed, as a stream.

A row that can't be read is never fatal and never lost: it comes as a `BadRow` with its place, the reason and its bytes.
What a file's rows are is the format's matter (`langmill.data.formats`).
"""

from __future__ import annotations

import io
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath

import pyarrow as pa

from langmill.config.core_yaml import as_written
from langmill.config.sections import Fields
from langmill.data.compression import DAMAGED
from langmill.data.diagnosis.diagnose import diagnose
from langmill.data.formats.base import Format, rest_of_damaged
from langmill.data.labels import LabelTable, label_map
from langmill.data.raw_files import RawFile, open_raw
from langmill.data.row_fields import row_of
from langmill.data.rows import (
    EXCERPT,
    BadRow,
    BadRowReason,
    Raw,
    Row,
    Unreadable,
    Values,
    Whole,
    escaped,
    portable,
    shown,
)
from langmill.data.sources.folder import look_through, raw_files
from langmill.errors import Code, DataError

logger = logging.getLogger(__name__)
_DIAGNOSED = 20  # files of one corpus that are looked into when something is wrong
_TOLD = 100  # files of one corpus of which it is said how they are read
_LOGGED = 3  # of these that are named at once
_NAMED = 12  # fields of a row
_TEXT_BYTES = 2**24  # of one text that is read whole, whatever cleaning keeps of it
_GROWTH = 16  # times the characters that cleaning keeps: what a text may have more in bytes, with mark-up
_CHUNK = 2**18
_CODES: dict[BadRowReason, Code] = {
    BadRowReason.repeated_name: "duplicate",
    BadRowReason.unexpected_shape: "mismatch",
}


@dataclass
class _Reading:
    """What the reading of all files of a corpus has in common."""

    file_format: Format
    fields: Fields
    names: Mapping[str, str | None] = field(default_factory=dict)
    table: LabelTable | None = None
    max_characters: int | None = None
    piece_bytes: int | None = None
    told: MutableMapping[str, str] = field(default_factory=dict)
    wrong: MutableMapping[str, str] = field(default_factory=dict)
    on_bytes: Callable[[int], object] = lambda _: None
    known: dict[str | None, set[str]] = field(default_factory=dict)
    """The names of the fields that rows have had, by the pattern of `fields.files` that their files fit."""
    tabular: bool = False
    """Whether any row was one of a table, with fields that the corpus names for all files."""
    _last: tuple[str, str | None, Fields] | None = None

    def fields_of(self, path: str) -> tuple[str | None, Fields]:
        """The pattern that a file or a member of an archive fits, and what its fields are."""
        if self._last is None or self._last[0] != path:
            pattern = self.fields.pattern_of(path)
            self._last = path, pattern, self.fields.of(pattern)
        return self._last[1:]

    def tell(self, name: str, sentence: str, *, wrong: bool = False) -> None:
        told = self.wrong if wrong else self.told
        if len(told) < _TOLD:
            told[name] = sentence


def read_rows(
    folder: Path,
    file_format: Format,
    fields: Fields,
    on_bytes: Callable[[int], object] | None = None,
    *,
    labels: Mapping[str, str | None] | None = None,
    table: LabelTable | None = None,
    max_characters: int | None = None,
    told: MutableMapping[str, str] | None = None,
    wrong: MutableMapping[str, str] | None = None,
) -> Iterator[Row | BadRow]:
    """Read every row below a folder, in a stable order.

    Args:
        folder: The raw files.
        file_format: What reads them; files that it does not read are skipped.
        fields: Which field of a row is what.
        on_bytes: Called with the bytes read since the last call, before decompression.
        labels: The corpus's `labels.map`; empty takes labels as they stand.
        table: Counts the labels as they are written.
        max_characters: What cleaning keeps of a text at most: a .txt file that is far larger is not read into memory.
        told: Gets a sentence for each file, by its name, that is read otherwise than its name says (its encoding, what
            separates its cells); the first 100.
        wrong: Gets a sentence for each file that can't be used, or not wholly: for its size, its header, or since its
            rows have no field that the corpus names for the text; the first 100.

    Yields:
        Rows with their text as it stands in the file (not yet cleaned), and those that can't be read.

    Raises:
        DataError: No file can be read, a table's header is unfit for any row, or no row has a field that `fields`
            names; the message lists the known fields.
    """
    files = raw_files(folder, file_format)
    if not files:
        raise DataError(f"{folder} holds no file that can be read; readable are {file_format.endings()}.", "missing")
    reading = _Reading(file_format, fields, label_map(labels or {}), table, max_characters)
    reading.told = reading.told if told is None else told
    reading.wrong = reading.wrong if wrong is None else wrong
    reading.on_bytes = on_bytes or reading.on_bytes
    for path in files:
        yield from _rows_of(path, PurePosixPath(path.relative_to(folder)), reading)
    for sentences, rest in (
        (reading.wrong, "%d more files can't be used as they are"),
        (reading.told, "%d more files are read otherwise than their names say"),
    ):
        for name, sentence in islice(sentences.items(), _LOGGED):
            logger.warning("%s: %s", name, sentence)
        if len(sentences) > _LOGGED:
            logger.warning(rest, len(sentences) - _LOGGED)
    if reading.known:
        try:
            _require_known(reading, folder)
        except DataError as error:
            found = [f" {name}: {cause}" for name, cause in islice(causes(folder, file_format, files), 1)]
            error.args = ("".join([str(error), *found]),)
            raise


def _rows_of(path: Path, relative: PurePosixPath, reading: _Reading) -> Iterator[Row | BadRow]:
    """The rows of one file. Raises DataError where the file refuses the whole corpus."""
    name = portable(relative.as_posix())
    plain, document = reading.file_format.is_plain_text(relative), reading.file_format.is_document(relative)
    texts = {
        only: Fields("text", None, None, [] if only else reading.fields.metadata) for only in (True, False)
    }  # of files that are documents, by whether there is nothing else to them
    having, absent, lacking = set[str](), Counter[str](), dict[str, tuple[str, list[str]]]()
    for place, values in _read_file(path, relative, reading):
        where = f"{name}:{place}"
        try:
            if isinstance(values, Unreadable):
                raise values
            member = place.rpartition(":")[0] if isinstance(place, str) else ""
            pattern, fields = reading.fields_of(f"{name}/{member}" if member else name)
            if plain or document or isinstance(values, Whole):
                only = values.plain if isinstance(values, Whole) else plain and not document
                fields = texts[only] if only or pattern is None else fields
            else:
                reading.tabular |= pattern is None
            reading.known.setdefault(pattern, set()).update(values)
            if fields.text in values:
                having.add(member)
            else:
                lacking.setdefault(member, (fields.text, list(values)))
                absent[member] += 1
            yield row_of(where, values, fields, reading.names, reading.table)
        except Unreadable as problem:
            yield BadRow(where, problem.reason, shown(problem.row[:EXCERPT]), problem.num_bytes, name)
            if problem.refusal is not None:
                reading.wrong[name] = problem.refusal
                raise DataError(f"{path}: {problem.refusal}", _CODES.get(problem.reason, "unreadable")) from None
    for member, (text, known) in lacking.items():
        verb = "has" if absent[member] == 1 else "have"
        which = f"{absent[member]:,} of its rows {verb}" if member in having else "Its rows have"
        listed = shown(", ".join(known[:_NAMED])) or "no other one either"
        reading.tell(
            f"{name}:{member}" if member else name,
            f"{which} no field {as_written(text)}, which the corpus names for the text, but {listed}; fields.files can "
            "name another one for this file.",
            wrong=True,
        )


def first_read(
    path: Path,
    file_format: Format,
    fields: Fields,
    limit: int,
    *,
    max_characters: int | None = None,
    wrong: MutableMapping[str, str] | None = None,
) -> Iterator[Row | BadRow]:
    """The first rows of each file of a corpus as `read_rows` gives them, at most so many of one.

    Args:
        path: A file, or a folder.
        file_format: What reads the files.
        fields: Which field of a row is what.
        limit: Rows of a file.
        max_characters: As of `read_rows`.
        wrong: As of `read_rows`.
    """
    files = [PurePosixPath(path.name)] if path.is_file() else look_through(path, file_format).files
    root = path.parent if path.is_file() else path
    reading = _Reading(file_format, fields, max_characters=max_characters, wrong={} if wrong is None else wrong)
    for relative in files:
        yield from islice(_rows_of(root / relative, relative, reading), limit)


def _require_known(reading: _Reading, folder: Path) -> None:
    """Refuse names that no row has, and patterns that no file fits.

    A .txt file has no fields, so there `fields.text` can be anything.
    """
    fields, every = reading.fields, set().union(*reading.known.values())
    named = [("metadata", name, every) for name in fields.metadata]
    if reading.tabular or not fields.files:
        known = reading.known.get(None, set())
        named += [(role, getattr(fields, role), known) for role in ("text", "label", "target")[not reading.tabular :]]
    for pattern, said in fields.files.items():
        if pattern not in reading.known:
            raise DataError(
                f"No row in {folder} is of a file that fits {as_written(pattern)}, which fields.files of the corpus "
                "names; take it out, or write the file's path below the source (* stands for anything).",
                "unknown",
            )
        roles = ("text", "label", "target")
        named += [(f"files.{pattern}.{role}", getattr(said, role), reading.known[pattern]) for role in roles]
    for key, name, known in named:
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
    """The first readable rows of a file with all their fields (of a text its beginning), to guess what they mean."""
    if file_format.is_plain_text(PurePosixPath(path.name)):
        with open_raw(path, PurePosixPath(path.name), file_format) as raw:
            return [raw.beginning()]
    return list(islice(_readable_rows(path, file_format), limit))


def num_rows_in(path: Path, file_format: Format, limit: int) -> int | None:
    """How many readable rows a file has; None where they are `limit` or more."""
    if file_format.is_plain_text(PurePosixPath(path.name)):
        return 1
    count = sum(1 for _ in islice(_readable_rows(path, file_format), limit))
    return count if count < limit else None


def _readable_rows(path: Path, file_format: Format) -> Iterator[Values]:
    rows = _read_file(path, PurePosixPath(path.name), _Reading(file_format, Fields("text", None, None, [])))
    return (values for _, values in rows if not isinstance(values, Unreadable))


def read_values(
    folder: Path,
    path: Path,
    file_format: Format,
    on_bytes: Callable[[int], object] | None = None,
    *,
    piece_bytes: int | None = None,
) -> Iterator[Raw]:
    """Every row of one file below a folder with all its fields, and what can't be read, each with its place.

    With `piece_bytes` a .txt file comes in pieces of so many bytes of UTF-8 at most, each as a row, and is not held.
    """
    reading = _Reading(file_format, Fields("text", None, None, []), piece_bytes=piece_bytes)
    reading.on_bytes = on_bytes or reading.on_bytes
    return _read_file(path, PurePosixPath(path.relative_to(folder).as_posix()), reading)


# One file ------------------------------------------------------------------------------------------------------------


def _read_file(path: Path, relative: PurePosixPath, reading: _Reading) -> Iterator[Raw]:
    """The rows of one file; what goes wrong with the file itself is its last row."""
    names = reading.file_format.companions(relative)
    other = next((each for each in names if path.with_name(each.name).is_file()), None)
    if names and other is None:
        said = f"{portable(names[0].name)}, which has the other half of its rows, is not there"
        yield 1, Unreadable(BadRowReason.unexpected_shape, said, num_bytes=path.stat().st_size)
    if names and (other is None or not reading.file_format.leads(relative)):
        return
    place: int | str = 0
    with ExitStack() as stack:
        opened = [stack.enter_context(open_raw(path, relative, reading.file_format, reading.on_bytes))]
        if other is not None:
            beside = path.with_name(other.name)
            opened.append(stack.enter_context(open_raw(beside, other, reading.file_format, reading.on_bytes)))
        try:
            for place, values in _content(opened, relative, reading):
                yield place, values
        except (*DAMAGED, pa.ArrowException) as error:
            after = place + 1 if isinstance(place, int) else f"{place}+"
            lost = sum(raw.unread(rows=bool(place)) for raw in opened)
            yield after, rest_of_damaged(error, lost)


def _content(opened: list[RawFile], relative: PurePosixPath, reading: _Reading) -> Iterator[Raw]:
    """What a format reads of an open file, and of the one that goes with it."""
    raw, *beside = opened
    file_format, limit = reading.file_format, reading.max_characters
    said = None
    if file_format.is_plain_text(relative) and limit is not None:
        yield from _text(raw, relative, limit, reading)
    elif file_format.is_plain_text(relative) and reading.piece_bytes is not None:
        yield from _pieces(raw, file_format, reading.piece_bytes)
    elif beside:
        yield from file_format.read_pair(raw.file, beside[0].file, raw.path)
    else:
        if raw.encoding is not None:
            said = file_format.told(raw.file.peek().decode("utf-8", "replace"), raw.path)
        yield from file_format.read(raw.file, raw.path)
    found = sorted({each.encoding for each in opened if each.encoding not in (None, "utf-8", file_format.encoding)})
    words = [*(f"its text is read as {encoding}" for encoding in found), *([said] if said else [])]
    if words:
        sentence = " and ".join(words)
        reading.tell(
            portable(relative.as_posix()),
            f"{sentence[0].upper()}{sentence[1:]}, by what stands in it; format.options can say what it is.",
        )


def _text(raw: RawFile, relative: PurePosixPath, limit: int, reading: _Reading) -> Iterator[Raw]:
    """A file that is one text; one that cleaning would drop for its length, whatever it holds, is not held."""
    most = max(_TEXT_BYTES, _GROWTH * limit)
    held, size = io.BytesIO(), 0
    while data := raw.file.read(_CHUNK):
        size += len(data)
        if size <= most:
            held.write(data)
    if size <= most:
        held.seek(0)
        yield from reading.file_format.read(held, raw.path)
        return
    reading.tell(
        portable(relative.as_posix()),
        f"The text has {size / 1e6:,.0f} MB, and cleaning.options.length.max_characters keeps {limit:,} characters of "
        "one: raise that, or cut it into passages with `format: passages`.",
        wrong=True,
    )
    yield 1, Unreadable(BadRowReason.too_large, escaped(held.getvalue()[:EXCERPT]), num_bytes=size)


def _pieces(raw: RawFile, file_format: Format, size: int) -> Iterator[Raw]:
    """A file that is one text, cut between paragraphs, lines or words where there are any."""
    data, number = raw.file.read(size), 0
    while data:
        end = len(data)
        if end == size:
            ends = (data.rfind(mark, size // 2) + 1 for mark in (b"\n\n", b"\n", b" "))
            end = next(filter(None, ends), _start_of_character(data))
        for _, values in file_format.read(io.BytesIO(data[:end]), raw.path):
            number += 1
            yield number, values
        data = data[end:] + raw.file.read(size - len(data) + end)


def _start_of_character(data: bytes) -> int:
    """Where the last character of UTF-8 begins, if it is not the first."""
    return next((at for at in range(len(data) - 1, max(0, len(data) - 4), -1) if data[at] & 0xC0 != 0x80), len(data))
