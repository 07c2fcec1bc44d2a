"""Parquet files are read without being held."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from langmill.data.parquet import parquet_file

pytestmark = pytest.mark.unit
SOURCE = Path(__file__).parents[3] / "src"


def test_what_has_been_read_is_let_go(tmp_path: Path) -> None:
    path, groups, size = tmp_path / "a.parquet", 16, 1_000_000
    with pq.ParquetWriter(path, pa.schema([("text", pa.binary())])) as writer:
        for _ in range(groups):
            writer.write_table(pa.table({"text": [os.urandom(size // 4) for _ in range(4)]}))
    before, most = pa.total_allocated_bytes(), 0
    with parquet_file(path) as file:
        for batch in file.iter_batches(batch_size=4):
            assert batch.num_rows == 4
            most = max(most, pa.total_allocated_bytes() - before)
    assert size < most < groups * size / 2


def test_every_file_is_opened_so() -> None:
    openers = {path.name for path in SOURCE.rglob("*.py") if "pq.ParquetFile(" in path.read_text()}
    assert openers == {"parquet.py"}
