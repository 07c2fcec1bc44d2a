"""Every file as its ending says: tables, lines and arrays of named values, texts, and what other formats read."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import IO

import pyarrow as pa

from langmill.data.formats.base import FORMATS, Format, rest_of_damaged
from langmill.data.formats.json_rows import read_json_array, read_json_lines
from langmill.data.formats.tables import DELIMITERS, TABLES, TableOptions, dialect_of, read_table, repeated
from langmill.data.parquet import parquet_file, values_of
from langmill.data.rows import BadRowReason, Raw, Unreadable, escaped

TEXTS = (".markdown", ".md", ".txt")
"""Files that are one text each, and nothing else; the marks of Markdown stay."""


@FORMATS.register("auto")
class Auto(Format):
    """Tables (.csv, .tsv, .parquet), lines of JSON (.jsonl, .ndjson), JSON arrays (.json) and texts (.txt, .md).

    A .txt or .md file is one row with the field `text`. In a .tsv file a quotation mark is a sign like any other, as
    the media type text/tab-separated-values has it: one at the beginning of a cell would join all rows up to the next.
    `quoted_tsv` is for files written otherwise. Files of the endings that another format claims for itself
    (`auto_endings`) are read by that format, so that a folder may hold files of many kinds.
    """

    options_class = TableOptions
    options: TableOptions

    def read(self, file: IO[bytes], path: PurePosixPath) -> Iterator[Raw]:
        """The rows of one file; see `Format.read`."""
        ending = str(self.ending(path))
        if ending in TABLES:
            return read_table(file, TABLES[ending], self.options, quoted=ending != ".tsv")
        return _READERS[ending](file) if ending in _READERS else self._other(ending).read(file, path)

    def readable(self) -> frozenset[str]:
        """The endings of its own and, of `auto` itself, those that other formats claim."""
        return (
            self.file_endings | _claimed().keys() if type(self).file_endings is Auto.file_endings else self.file_endings
        )

    def is_plain_text(self, path: PurePosixPath) -> bool:
        """Whether it is a .txt or .md file."""
        return self.ending(path) in TEXTS

    def is_document(self, path: PurePosixPath) -> bool:
        """Whether a format reads it that makes documents."""
        ending = str(self.ending(path))
        return ending not in self.file_endings and self._other(ending).makes_documents

    def is_text(self, path: PurePosixPath) -> bool:
        """Whether the file is text."""
        ending = self.ending(path)
        return ending != ".parquet" and (ending in self.file_endings or self._other(str(ending)).is_text(path))

    def told(self, head: str, path: PurePosixPath) -> str | None:
        """What separates a table's cells, where that is not what its ending says."""
        ending = str(self.ending(path))
        if ending not in TABLES or self.options.delimiter is not None:
            return None
        sign = dialect_of(head, TABLES[ending], quoted=ending != ".tsv").delimiter
        return None if sign == TABLES[ending] else f"its cells are separated by {DELIMITERS.get(sign, repr(sign))}"

    def _other(self, ending: str) -> Format:
        return _built(_claimed()[ending])


def claimed_by(path: PurePosixPath) -> str | None:
    """The name of the format that files of this ending are for, whatever they hold; None where `auto` reads them."""
    ending = Auto(TableOptions()).ending(path)
    return None if ending in Auto.file_endings else _claimed().get(str(ending))


@functools.cache
def _claimed() -> dict[str, str]:
    """The formats of Langmill itself that claim files of an ending for themselves, by the ending."""
    return {ending: name for name in FORMATS.own_names() for ending in sorted(FORMATS.find(name).auto_endings)}


@functools.cache
def _built(name: str) -> Format:
    return FORMATS.find(name)(FORMATS.options(name, {}, "format auto"))


def _read_txt(file: IO[bytes]) -> Iterator[Raw]:
    data = file.read()
    try:
        yield 1, {"text": data.decode("utf-8-sig")}
    except UnicodeDecodeError:
        yield 1, Unreadable(BadRowReason.undecodable, escaped(data), num_bytes=len(data))


def _read_parquet(file: IO[bytes]) -> Iterator[Raw]:
    number = 0
    with tempfile.TemporaryFile() as seekable:
        while chunk := file.read(2**20):
            seekable.write(chunk)
        size = seekable.tell()
        try:
            table = parquet_file(seekable)
        except (pa.ArrowException, OSError) as error:
            yield 1, rest_of_damaged(error, size)
            return
        names = table.schema_arrow.names
        if name := repeated(names):
            fault = f"names the column {name} twice, so that one of the two would be lost; rename one of them"
            said = f"Its header ({', '.join(names)}) {fault}."
            yield 1, Unreadable(BadRowReason.repeated_name, ", ".join(names), num_bytes=size, refusal=said)
            return
        try:
            for batch in table.iter_batches(batch_size=1000):
                for values in values_of(batch):
                    number += 1
                    yield number, values
        except (pa.ArrowException, OSError) as error:
            yield number + 1, rest_of_damaged(error, size - size * number // max(1, table.metadata.num_rows))


_READERS: dict[str, Callable[[IO[bytes]], Iterator[Raw]]] = {
    ".json": read_json_array,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".parquet": _read_parquet,
    **dict.fromkeys(TEXTS, _read_txt),
}
Auto.file_endings = frozenset({*TABLES, *_READERS})
