"""Parquet files are read without being held."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from langmill.data.parquet import parquet_file
from tests.unit.data.formats.reading import bad, good, read

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


def written(**columns: pa.Array) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


def test_dates_that_python_has_not_cost_no_text() -> None:
    data = written(
        text=pa.array(["one", "two"]),
        far=pa.array([2**62, 0], pa.timestamp("us")),
        day=pa.array([2**30, 0], pa.date32()),
        zone=pa.array([0, 10**6], pa.timestamp("us", tz="Mars/Olympus")),
    )
    rows = [values for _, values in good(read("auto", data, "a.parquet"))]
    assert [row["text"] for row in rows] == ["one", "two"]
    assert [row["zone"] for row in rows] == ["1970-01-01 00:00:00.000000", "1970-01-01 00:00:01.000000"]
    assert str(2**62) in rows[0]["far"]


def test_a_string_that_is_not_utf_8_costs_its_row() -> None:
    data = pa.array([b"one", b"tw\xf6", b"three"])
    rows = read("auto", written(text=pa.Array.from_buffers(pa.string(), 3, data.buffers())), "a.parquet")
    assert good(rows) == [(1, {"text": "one"}), (3, {"text": "three"})]
    assert bad(rows) == [(2, "undecodable")]
    nested = pa.array([{"at": 2**62}, {"at": 0}], pa.struct([("at", pa.timestamp("us"))]))
    rows = read("auto", written(text=pa.array(["one", "two"]), meta=nested), "a.parquet")
    assert [place for place, _ in good(rows)] == [2]
    assert bad(rows) == [(1, "wrong_type")]
