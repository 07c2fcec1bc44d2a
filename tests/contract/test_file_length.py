"""A file holds one concept: none is long."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = pytest.mark.contract
ROOT = Path(__file__).parents[2]
MAX_LINES = 400
SAVED_CODE = ROOT / "tests" / "golden" / "models"  # what a model was saved with, byte for byte


def test_no_file_is_longer_than_400_lines() -> None:
    folders = [ROOT / name for name in ("src", "flows", "tests", "benchmarks")]
    paths = [path for folder in folders for path in folder.rglob("*.py") if not path.is_relative_to(SAVED_CODE)]
    lines = {str(path.relative_to(ROOT)): path.read_bytes().count(b"\n") for path in paths}
    assert {name.partition("/")[0] for name in lines} == {"src", "flows", "tests", "benchmarks"}
    assert not {name: count for name, count in lines.items() if count > MAX_LINES}, "cut these by concept"
