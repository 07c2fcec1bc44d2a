"""What was left out can be looked at, a bounded number of each reason, the same ones in any order."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from langmill.data.document import Split
from langmill.data.dropped import SCHEMA, Dropped, DroppedSample
from langmill.errors import DataError

pytestmark = pytest.mark.unit


def test_a_sample_of_each_reason_whatever_the_order(tmp_path: Path) -> None:
    rows = [Dropped(f"a.csv:{number}", "too_long", "length", Split.train, "long " * 1000, "t" * 3000)
            for number in range(1200)]  # fmt: skip
    rows += [Dropped("a.csv:7", "duplicate", None, Split.test, "text", None, "id-1", 1.0, 1.0)]
    found = []
    for seed in range(2):
        random.Random(seed).shuffle(rows)
        path = tmp_path / f"{seed}.parquet"
        with DroppedSample(path) as sample:
            for row in rows:
                sample.add(row)
        found.append(path.read_bytes())
    assert found[0] == found[1]
    table = pq.read_table(tmp_path / "0.parquet")
    assert table.schema == SCHEMA
    first, *others = table.to_pylist()
    assert first == {
        "where": "a.csv:7", "reason": "duplicate", "step": None, "split": "test", "text": "text", "target": None,
        "twin": "id-1", "similarity": 1.0, "containment": 1.0, "score": None, "detail": None,
    }  # fmt: skip
    assert len(others) == 500
    assert {(len(row["text"]), len(row["target"]), row["step"]) for row in others} == {(2000, 2000, "length")}
    numbers = [int(row["where"].partition(":")[2]) for row in others]
    assert 500 < sum(numbers) / len(numbers) < 700  # of all, not of the first


def test_it_outlives_a_refusal(tmp_path: Path) -> None:
    with pytest.raises(DataError), DroppedSample(tmp_path / "d.parquet") as sample:
        sample.add(Dropped("a:1", "empty", None, None, "", None))
        raise DataError("No.", "too_few")
    assert pq.read_table(tmp_path / "d.parquet").num_rows == 1
