"""Workers make no difference, and know the steps that other distributions bring."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from langmill.data.cleaning.apply import Cleaned
from langmill.data.cleaning.base import CLEANING_STEPS
from langmill.data.cleaning.pool import clean_rows
from langmill.data.corpus import make_corpus
from langmill.data.document import Split, documents_path, read_documents
from langmill.data.rows import Row
from langmill.files import write_text
from tests.unit.data.settings import cleaning, fields, settings

pytestmark = pytest.mark.unit


def row(number: int, text: str) -> Row:
    return Row(f"a.csv:{number}", text, None, None, {})


def test_rows_come_in_order_and_alike_for_any_number_of_workers() -> None:
    rows = [row(number, f"<b>Row</b> {number} " + "x  y" * (number % 7)) for number in range(4500)]

    def run(workers: int) -> list[tuple[Row, Cleaned]]:
        return list(clean_rows(rows, cleaning(workers=workers), "tiny.yaml"))

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

    next(clean_rows(rows(), cleaning(), "tiny.yaml"))
    assert taken <= 4000


TOY = """
import os
import re
from dataclasses import dataclass, replace

from langmill.data.cleaning.base import CLEANING_STEPS, CleaningStep, Dropped


@dataclass
class HideOptions:
    sign: str


@CLEANING_STEPS.register("toy_hide")
class Hide(CleaningStep):
    options_class = HideOptions

    def clean(self, document):
        if "secret" in document.text:
            return Dropped("toy_secret")
        numbers = re.findall("[0-9]{4}", document.text)
        if not numbers:
            return document
        text = re.sub("[0-9]{4}", self.options.sign, document.text)
        metadata = {**document.metadata, "numbers": ",".join(numbers), "cleaned in": str(os.getpid())}
        return replace(document, text=text, metadata=metadata, changes=("number",) * len(numbers))
"""


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Another distribution with a cleaning step."""
    site = tmp_path / "site"
    write_text(site / "toy_step.py", TOY)
    write_text(site / "toy-1.0.dist-info" / "METADATA", "Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    write_text(site / "toy-1.0.dist-info" / "entry_points.txt", "[langmill.cleaning_steps]\ntoy_hide = toy_step\n")
    monkeypatch.syspath_prepend(str(site))
    importlib.invalidate_caches()
    yield
    CLEANING_STEPS._classes.pop("toy_hide", None)


def test_a_step_of_another_distribution_cleans_in_every_worker(distribution: None, tmp_path: Path) -> None:
    for name in ("raw", "out"):
        (tmp_path / name).mkdir()
    lines = [f"document {number} {number * 31}\n" for number in range(1000, 9000)] + ["a secret\n"] * 3
    (tmp_path / "raw" / "a.csv").write_text("text\n" + "".join(lines))
    found = []
    for workers in (1, 2):
        wanted = settings(fields(), workers=workers, drop_duplicates=False, toy_hide={"sign": "####"})
        report = make_corpus(tmp_path / "raw", tmp_path / "out", wanted, lambda _: None)
        documents = [one for split in Split for one in read_documents(documents_path(tmp_path / "out", split))]
        by = {one.metadata.pop("cleaned in") for one in documents}
        found.append((documents, report.as_json()["cleaning"], report.dropped))
        assert (workers == 1) == (len(by) == 1)
    assert found[0] == found[1]
    documents, counts, dropped = found[0]
    assert "document #### ####0" in {one.text for one in documents}
    assert documents[0].metadata["numbers"].count(",") == 1
    assert counts["toy_hide"] == {"changed": 8000, "changes": {"number": 16000}, "dropped": {"toy_secret": 3}}
    assert dropped == {"toy_secret": 3}
    assert "| toy_hide | 8,000 | number: 16,000 | 3 | toy secret: 3 |" in report.as_markdown()
