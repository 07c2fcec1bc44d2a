"""Rows under a header: Parquet, CSV and TSV."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from langmill.config.core_yaml import as_written
from langmill.data.compression import open_decompressed
from langmill.data.formats.auto import repeated
from langmill.data.rows import shown

_DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "vertical bars"}
TABLES = {".csv": ",", ".tsv": "\t"}


def wrong_parquet(path: Path, compression: str) -> str | None:
    """What is wrong with a Parquet file."""
    try:
        with path.open("rb") as file, open_decompressed(file, compression) as content:
            table = pq.ParquetFile(io.BytesIO(content.read()) if compression else file)
    except pa.ArrowException as error:
        return damaged(error)
    if name := repeated(table.schema_arrow.names):
        return _repeated_column(name)
    return None if table.metadata.num_rows else "The file has columns and no rows; get it again, or leave it out."


def damaged(error: Exception) -> str:
    """What to say of a file that its reader gives up on."""
    told = str(error).strip().partition("\n")[0].rstrip(".")
    return shown(f"The file is damaged or cut short ({told or type(error).__name__}); get it again.")


def other_delimiter(text: str, delimiter: str) -> str | None:
    """What else separates the columns than the file's ending says."""
    header = next(_records(text, delimiter))
    line = header[0].partition("\n")[0]  # more of it only where a quotation mark is open
    other = max((sign for sign in _DELIMITERS if sign != delimiter), key=line.count)
    if len(header) != 1 or other not in line:
        return None
    remedy = next((f"rename it to {ending}" for ending, sign in TABLES.items() if sign == other), None)
    remedy = remedy or f"save it with {_DELIMITERS[delimiter]}"
    return f"The file's columns are separated by {_DELIMITERS[other]}, not {_DELIMITERS[delimiter]}; {remedy}."


def _records(text: str, delimiter: str) -> Iterator[list[str]]:
    """The records of a table that are not empty; only .csv has quotation marks."""
    csv.field_size_limit(sys.maxsize)
    lines: IO[str] = io.StringIO(text, newline="")
    if delimiter == ",":
        return filter(None, csv.reader(lines))
    return filter(None, csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE))


def wrong_table(text: str, delimiter: str, *, whole: bool) -> str | None:
    """What is wrong with the header or the rows of a table; without `whole` it may end anywhere."""
    if whole and (line := _open_quotation(text, delimiter)):
        return f'Line {line:,} has a quotation mark that is never closed; close it, or write "" for one that is meant.'
    records = _records(text, delimiter)
    names = [name.strip() for name in next(records)]
    if name := repeated([name for name in names if name]):
        return _repeated_column(name)
    first = next(records, None)
    if first is None:
        return "The file has a header and no rows, or a single row and no header; its first line must name the columns."
    if len(first) != len(names) and not any(len(cells) == len(names) for cells in records):
        return (
            f"The file has {len(names)} names in its header and {len(first)} cells in its first row, and no row fits; "
            "give every row as many cells as the header has"
            + (", and put those with a comma in them into quotation marks." if delimiter == "," else ".")
        )
    if len(names) == 1:
        return (
            f"The file has one column only, {as_written(names[0][:60])}; check that its first line names the columns."
        )
    return None


def _repeated_column(name: str) -> str:
    return f"The header names the column {as_written(name)} more than once; rename all but one of them."


def _open_quotation(text: str, delimiter: str) -> int | None:
    """The line that begins the record whose quotation mark is never closed."""
    if delimiter != ",":
        return None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        for _ in reader:
            line = reader.line_num + 1
    except csv.Error as error:
        return line if "unexpected end" in str(error) else None
    return None
