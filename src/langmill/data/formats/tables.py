"""Tables under a header: what separates their cells, and their rows (RFC 4180; IANA's text/tab-separated-values)."""

from __future__ import annotations

import csv
import io
import re
import statistics
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import IO, Literal, cast

from langmill.config.constraints import require
from langmill.config.typed import settings
from langmill.data.encoding import HEAD, encoding_named
from langmill.data.rows import EXCERPT, BadRowReason, Raw, Unreadable, escaped, is_text, shown

TABLES = {".csv": ",", ".tsv": "\t"}
"""What separates cells, by the ending of the file, where its content does not say otherwise."""
DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "vertical bars"}
"""What is looked for in a table's first lines, and how it is called."""
_RECORD_CHARACTERS = 2**24  # of one CSV record; a longer one is a quotation mark that is never closed
_SEPARATOR_LINE = re.compile(r"\ufeff?sep=([^\r\n])(?:\r\n|\r|\n|$)", re.IGNORECASE)  # as Excel reads and writes it
_SAMPLED = 100  # records that show what separates cells
_NAME_CHARACTERS = 100  # a longer cell is no column's name
_USUAL_NAMES = frozenset({
    "answer", "body", "category", "class", "completion", "content", "description", "id", "label", "message", "prompt",
    "question", "response", "review", "sentence", "source", "target", "text", "title", "topic", "url",
})  # fmt: skip
_TOO_FEW = 3  # records below the first one that say nothing about it
_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:[.,][0-9]+)?|[.,][0-9]+)(?:[eE][-+]?[0-9]+)?%?")


@settings
class TableOptions:
    """How files of rows are read where they don't show it."""

    encoding: str | None = None
    """What text is encoded in, by Python's name, as `utf-8` or `cp1252`; null finds it out, file by file."""
    delimiter: str | None = None
    """What separates the cells of a table, one character; null goes by a first line `sep=;`, the first rows and the
    file's ending."""
    header: bool = True
    """Whether a table's first line names its columns; without, they are `column 1`, `column 2` and so on."""

    def __post_init__(self) -> None:
        if self.encoding is not None:
            object.__setattr__(self, "encoding", encoding_named(self.encoding))
        sign = self.delimiter
        one = sign is None or (len(sign) == 1 and sign.isprintable() | (sign == "\t") and sign != '"')
        require(one, "delimiter", sign, 'null or one character, as ";" or "\\t"')


@dataclass(frozen=True)
class Dialect:
    """How a table is written."""

    delimiter: str
    quoted: bool
    """Whether quotation marks hold a cell together, with delimiters and ends of lines in it."""
    skipped: int = 0
    """Lines before the header: one that only says what separates cells."""

    def records(self, text: str) -> Iterator[list[str]]:
        """The records of some text that are not empty, in the lenient way, which never fails."""
        lines = io.StringIO(text, newline="")
        for _ in range(self.skipped):
            lines.readline()
        csv.field_size_limit(sys.maxsize)
        return filter(None, csv.reader(lines, delimiter=self.delimiter, quoting=self.quoting))

    @property
    def quoting(self) -> Literal[0, 3]:
        """The `csv` module's name of it."""
        return csv.QUOTE_MINIMAL if self.quoted else csv.QUOTE_NONE


def dialect_of(head: str, default: str, *, quoted: bool, delimiter: str | None = None) -> Dialect:
    """What a table's first lines show.

    The delimiter of the file's ending stands unless most of the first records have another number of cells than the
    header by it, and the same number by another one.

    Args:
        head: The beginning of the file, as text.
        default: What the file's ending says.
        quoted: Whether cells between tabs can stand in quotation marks; those between other signs always can.
        delimiter: What somebody said; None looks.
    """
    line = _SEPARATOR_LINE.match(head)
    skipped = 1 if line else 0
    if line and delimiter is None:
        delimiter = line[1]
    if delimiter is None:
        shares = {sign: _regular(Dialect(sign, quoted or sign != "\t"), head) for sign in (default, *DELIMITERS)}
        best = max(shares, key=shares.__getitem__)  # the first of those that are alike, which is the ending's
        delimiter = best if shares[default] < 0.5 < shares[best] else default
    return Dialect(delimiter, quoted or delimiter != "\t", skipped)


def _regular(dialect: Dialect, head: str) -> float:
    """The share of records with as many cells as the header, which has several; 0 where it has one."""
    names, *rows = [len(cells) for cells in islice(dialect.records(head), _SAMPLED)] or [0]
    if len(head) >= HEAD // 4 and len(rows) > 1:
        rows.pop()  # the text may end in the middle of it
    return rows.count(names) / len(rows) if rows and names > 1 else 0.0


def has_header(records: Sequence[Sequence[str]]) -> bool:
    """Whether the first of a table's records names columns, as far as cells tell: a guess, for a person to confirm.

    Names are short, each another one, no numbers and no values of their own column; and something must set them apart
    from the records below, unless those are too few to say.
    """
    first, *others = records
    names = [cell.strip() for cell in first]
    if any(not name or len(name) > _NAME_CHARACTERS or _NUMBER.fullmatch(name) for name in names):
        return False
    if len(set(names)) < len(names):
        return True  # a header with a fault, and never two equal cells of a row by chance
    columns = [[row[number].strip() for row in others if number < len(row)] for number in range(len(names))]
    if any(name in column for name, column in zip(names, columns, strict=True)):
        return False
    usual = any(name.casefold() in _USUAL_NAMES for name in names)
    return (
        usual
        or len(others) < _TOO_FEW
        or any(_differs(name, column) for name, column in zip(names, columns, strict=True) if column)
    )


def _differs(name: str, column: list[str]) -> bool:
    """Whether a column's values are of another kind than its name."""
    length = statistics.median(map(len, column))
    return length > 2 * len(name) or length < len(name) / 2 or all(map(_NUMBER.fullmatch, column))


def head_of(file: IO[bytes]) -> tuple[IO[bytes], bytes]:
    """A file that can be peeked into, and its beginning, which stays in it."""
    peekable = file if isinstance(file, io.BufferedReader) else io.BufferedReader(cast("io.RawIOBase", file), HEAD)
    return peekable, peekable.peek(HEAD)[:HEAD]


def read_table(file: IO[bytes], default: str, options: TableOptions, *, quoted: bool) -> Iterator[Raw]:
    """The rows of a table, placed by their first line.

    A header that can't be meant refuses the file: no row can be read rightly under it.

    Args:
        file: The content, in UTF-8.
        default: What the file's ending says that stands between cells.
        options: What somebody said.
        quoted: Whether quotation marks hold a cell together, with delimiters and ends of lines in it.
    """
    csv.field_size_limit(sys.maxsize)
    file, head = head_of(file)
    dialect = dialect_of(head.decode("utf-8", "replace"), default, quoted=quoted, delimiter=options.delimiter)
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    lines = _RecordLines(text)
    for _ in range(dialect.skipped):
        next(lines, None)
    reader = csv.reader(lines, delimiter=dialect.delimiter, quoting=dialect.quoting, strict=True)
    header: list[str] | None = None
    while True:
        lines.start_record()
        try:
            cells = next(reader, None)
        except csv.Error:
            if header is None:
                yield lines.number, _unfit(BadRowReason.unreadable_file, _wrong_marks(lines.first()), lines, text)
                return
            # A stray quotation mark swallows what follows up to the next one: give up its own line only.
            yield lines.number, _wrong(BadRowReason.corrupt, lines.give_back())
            continue
        if cells is None:
            return
        if not cells:
            continue
        if header is None:
            header = _names(cells) if options.header else [f"column {n}" for n in range(1, len(cells) + 1)]
            if options.header:
                if fault := _fault(header, dialect, lines):
                    yield lines.number, _unfit(*fault, lines, text)
                    return
                continue
        if len(cells) != len(header):
            yield lines.number, _wrong(BadRowReason.ragged, lines.give_back())
        elif any(not is_text(cell) for cell in cells):
            yield lines.number, _wrong(BadRowReason.undecodable, "".join(lines.record))
        else:
            yield lines.number, dict(zip(header, cells, strict=True))


def _names(cells: list[str]) -> list[str]:
    return [name.strip() or f"column {number}" for number, name in enumerate(cells, start=1)]


def _fault(header: list[str], dialect: Dialect, lines: _RecordLines) -> tuple[BadRowReason, str] | None:
    """What makes a header unfit, if anything does."""
    if name := repeated(header):
        said = f"names the column {shown(name)} twice, so that one of the two would be lost; rename one of them"
        return BadRowReason.repeated_name, said
    if dialect.quoted and any(name.startswith('"') or name.endswith('"') for name in header):
        return BadRowReason.unreadable_file, _wrong_marks(lines.first())
    return None


def _wrong_marks(line: str) -> str:
    if re.search(r'"[^\S\r\n]+[^\w\s"]|[^\w\s"][^\S\r\n]+"', line):
        return 'has spaces between its quotation marks and what separates the cells; write "text","label"'
    return "has a quotation mark that does not fit; close it, or take it out"


def _wrong(reason: BadRowReason, record: str) -> Unreadable:
    data = record.encode(errors="surrogateescape")
    return Unreadable(reason, escaped(data), num_bytes=len(data))


def _unfit(reason: BadRowReason, fault: str, lines: _RecordLines, text: io.TextIOWrapper) -> Unreadable:
    """The header of a file none of whose rows can be read: all that is left of the file is its bytes."""
    record = "".join(lines.record)
    line = shown(record.strip()[:EXCERPT].encode(errors="surrogateescape").decode(errors="backslashreplace"))
    count = sum(map(_size, [record, *lines.returned()]))
    while more := text.read(2**20):
        count += _size(more)
    return Unreadable(reason, line, num_bytes=count, refusal=f"Its header ({line}) {fault}.")


def _size(text: str) -> int:
    return len(text.encode(errors="surrogateescape"))


def repeated(names: Sequence[str]) -> str | None:
    """The first of the names that stands twice among them."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


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

    def first(self) -> str:
        """The present record's first line."""
        return self.record[0] if self.record else ""

    def returned(self) -> list[str]:
        """The lines that wait to be read again."""
        return self._returned

    def give_back(self) -> str:
        """Keep the record's first line, which is returned, and read the others again as records of their own."""
        first, *others = self.record
        self._returned.extend(reversed(others))
        self.record = [first]
        return first
