"""Parquet files of any size, read from front to back."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from langmill.data.rows import BadRowReason, Unreadable, Values

_NOT_IN_PYTHON = (ArithmeticError, LookupError, ValueError)
"""What Arrow raises of values that Python has no object for: dates beyond the year 9999, time zones that this machine
does not know, strings that are not UTF-8."""


def parquet_file(source: Path | IO[bytes]) -> pq.ParquetFile:
    """Open a Parquet file whose batches are not held once they are read.

    By default Arrow asks for all of a file's bytes at once and keeps them (`pre_buffer`), which suits a distant store.
    """
    return pq.ParquetFile(source, pre_buffer=False)


def values_of(batch: pa.RecordBatch) -> list[Values | Unreadable]:
    """The rows of a batch; one that Python has no object for costs itself, and a date only its own value."""
    try:
        return batch.to_pylist()  # type: ignore[no-any-return]
    except _NOT_IN_PYTHON:
        return [_row(batch.slice(number, 1)) for number in range(batch.num_rows)]


def _row(batch: pa.RecordBatch) -> Values | Unreadable:
    values: dict[str, object] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            values[name] = _value(column)
        except _NOT_IN_PYTHON as error:
            text = isinstance(error, UnicodeDecodeError)
            reason = BadRowReason.undecodable if text else BadRowReason.wrong_type
            return Unreadable(reason, f"{name}: {error}", num_bytes=batch.nbytes)
    return values


def _value(column: pa.Array) -> Any:
    """The one value of a column; as text, as Arrow writes it, where it is a date or a time that Python has not."""
    try:
        return column[0].as_py()
    except _NOT_IN_PYTHON:
        if not pa.types.is_temporal(column.type):
            raise
    if pa.types.is_timestamp(column.type):  # in UTC, whatever its zone is called
        column = column.cast(pa.timestamp(column.type.unit))
    return column.cast(pa.string())[0].as_py()
