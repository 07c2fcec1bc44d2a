"""Rows under a header: Parquet, CSV and TSV."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pyarrow as pa

from langmill.config.core_yaml import as_written
from langmill.data.compression import LOCKED, open_decompressed
from langmill.data.encoding import HEAD
from langmill.data.formats.tables import TABLES, Dialect, dialect_of, repeated
from langmill.data.parquet import parquet_file
from langmill.data.rows import shown


def wrong_parquet(path: Path, compression: str) -> str | None:
    """What is wrong with a Parquet file."""
    try:
        with path.open("rb") as file, open_decompressed(file, compression) as content:
            table = parquet_file(io.BytesIO(content.read()) if compression else file)
    except pa.ArrowException as error:
        return damaged(error)
    if name := repeated(table.schema_arrow.names):
        return _repeated_column(name)
    return None if table.metadata.num_rows else "The file has columns and no rows; get it again, or leave it out."


def damaged(error: Exception | str) -> str:
    """What to say of a file that its reader gives up on with an error, or with such words."""
    told = str(error).strip().partition("\n")[0].rstrip(".")
    if LOCKED in told:
        return "The archive is encrypted and asks for a password; unpack it, and give what was in it."
    return shown(f"The file is damaged or cut short ({told or type(error).__name__}); get it again.")


def wrong_table(text: str, ending: str, *, whole: bool) -> str | None:
    """What is wrong with the header or the rows of a table; without `whole` it may end anywhere."""
    dialect = dialect_of(text[:HEAD], TABLES[ending], quoted=ending != ".tsv")
    if whole and (line := _open_quotation(text, dialect)):
        return f'Line {line:,} has a quotation mark that is never closed; close it, or write "" for one that is meant.'
    records = dialect.records(text)
    names = [name.strip() for name in next(records)]
    if name := repeated([name for name in names if name]):
        return _repeated_column(name)
    first = next(records, None)
    if first is None:
        return "The file has a header and no rows, or a single row and no header; its first line must name the columns."
    if len(first) != len(names) and not any(len(cells) == len(names) for cells in records):
        return (
            f"The file has {len(names)} name{'s' * (len(names) > 1)} in its header and {len(first)} "
            f"cell{'s' * (len(first) > 1)} in its first row, and no row fits; "
            "give every row as many cells as the header has"
            + (", and put those with a comma in them into quotation marks." if dialect.delimiter == "," else ".")
        )
    if len(names) == 1:
        return (
            f"The file has one column only, {as_written(names[0][:60])}; check that its first line names the columns."
        )
    return None


def _repeated_column(name: str) -> str:
    return f"The header names the column {as_written(name)} more than once; rename all but one of them."


def _open_quotation(text: str, dialect: Dialect) -> int | None:
    """The line that begins the record whose quotation mark is never closed."""
    if not dialect.quoted:
        return None
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=dialect.delimiter, strict=True)
    line = 1
    try:
        for _ in reader:
            line = reader.line_num + 1
    except csv.Error as error:
        return line if "unexpected end" in str(error) else None
    return None
