"""Parquet files of any size, read from front to back."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import pyarrow.parquet as pq


def parquet_file(source: Path | IO[bytes]) -> pq.ParquetFile:
    """Open a Parquet file whose batches are not held once they are read.

    By default Arrow asks for all of a file's bytes at once and keeps them (`pre_buffer`), which suits a distant store.
    """
    return pq.ParquetFile(source, pre_buffer=False)
