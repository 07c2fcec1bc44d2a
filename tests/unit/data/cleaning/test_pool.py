"""Workers make no difference, and know the steps that other distributions bring."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from langmill.data.cleaning.apply import Cleaned
from langmill.data.cleaning.base import CLEANING_STEPS
from langmill.data.cleaning.pool import clean_batches
from langmill.data.corpus import make_corpus
from langmill.data.document import Split, documents_path, read_documents
from langmill.data.rows import Row
from langmill.files import write_text
from tests.unit.data.settings import cleaning, settings

pytestmark = pytest.mark.unit
GUIDE = Path(__file__).parents[4] / "docs" / "guides" / "own-text.md"


def row(number: int, text: str) -> Row:
    return Row(f"a.csv:{number}", text, None, None, {})


def test_rows_come_in_order_and_alike_for_any_number_of_workers() -> None:
    rows = [row(number, f"<b>Row</b> {number} " + "x  y" * (number % 7)) for number in range(4500)]

    def run(workers: int) -> list[tuple[Row, Cleaned]]:
        batches = clean_batches(rows, cleaning(workers=workers), "tiny.yaml")
        return [pair for batch, (cleaned, _) in batches for pair in zip(batch, cleaned, strict=True)]

    alone = run(1)
    assert [one for one, _ in alone] == rows
    assert alone[2][1].text == "Row 2 x yx y"
    assert run(2) == alone


def test_reading_stays_only_a_few_batches_ahead() -> None:
    taken = 0

    def rows() -> Iterator[Row]:
        nonlocal taken
        for number in range(50_000):
            taken += 1
            yield row(number, str(number))

    next(clean_batches(rows(), cleaning(), "tiny.yaml"))
    assert taken <= 4000


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Another distribution with the cleaning step of the guide."""
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    site = tmp_path / "site"
    write_text(site / "toy_letters.py", code)
    write_text(site / "toy-1.0.dist-info" / "METADATA", "Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    write_text(site / "toy-1.0.dist-info" / "entry_points.txt", f"[{CLEANING_STEPS.group}]\naddresses = toy_letters\n")
    monkeypatch.syspath_prepend(str(site))
    importlib.invalidate_caches()
    yield
    CLEANING_STEPS._classes.pop("addresses", None)
    sys.modules.pop("toy_letters", None)


def test_a_step_of_another_distribution_cleans_in_every_worker(distribution: None, tmp_path: Path) -> None:
    for name in ("raw", "out"):
        (tmp_path / name).mkdir()
    lines = [f"letter {number} to me{number}@example.org and you@b.c\n" for number in range(8000)]
    lines += [f"{number}@b.c " * 21 + "\n" for number in range(3)]
    (tmp_path / "raw" / "a.csv").write_text("text\n" + "".join(lines))
    found = []
    for workers in (1, 2):
        options = {"placeholder": "(address)", "max_addresses": 20}
        report = make_corpus(
            tmp_path / "raw", tmp_path / "out", settings(workers=workers, addresses=options), lambda _: None
        )
        documents = [one for split in Split for one in read_documents(documents_path(tmp_path / "out", split))]
        found.append((documents, report.as_json(), report.as_markdown()))
    assert found[0] == found[1]
    documents, counts, page = found[0]
    assert {one.text for one in documents} == {f"letter {number} to (address) and (address)" for number in range(8000)}
    assert counts["dropped"] == {"list_of_addresses": 3}
    assert counts["cleaning"]["addresses"] == {
        "changed": 8000, "changes": {"address": 16000}, "dropped": {"list_of_addresses": 3},
    }  # fmt: skip
    assert "| addresses | 8,000 | address: 16,000 | 3 | list of addresses: 3 |" in page
