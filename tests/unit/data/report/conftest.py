"""A report on rows of every fate."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from langmill.data.cleaning.apply import clean_documents
from langmill.data.cleaning.base import CleaningStep, Draft, Dropped
from langmill.data.document import Document, Split, documents_path
from langmill.data.report import Report, StepCount
from langmill.data.rows import BadRow, BadRowReason, Row
from tests.documents import write_documents

SECRET = "ann@example.org"
HOSTILE = "</pre><script>alert(1)</script><img src=x onerror=alert(2)> \u202egnp.exe\u202c " + "w" * 100_000


class Shout(CleaningStep):
    """Doubles exclamation marks, and drops what has none."""

    def clean(self, document: Draft) -> Draft | Dropped:
        if "!" not in document.text:
            return Dropped("no_shout")
        return document._replace(text=document.text.replace("!", "!!"), changes=("mark",))


class Privacy(CleaningStep):
    """Stands for the step that takes out personal data."""

    def clean(self, document: Draft) -> Draft | Dropped:
        text = document.text.replace(SECRET, "<EMAIL>")
        return document if text == document.text else document._replace(text=text, changes=("email",))


STEPS = {"shout": Shout(None), "privacy": Privacy(None)}


@pytest.fixture
def report(tmp_path: Path) -> Report:
    """Two rows that are kept, one that a step drops, a near duplicate and a row that can't be read."""
    report = Report("calls")
    report.steps = {name: StepCount() for name in STEPS}
    documents = []
    for number, text in enumerate((f"Help! Write to {SECRET}", f"{HOSTILE}!", "Help! Write to us", "quiet"), start=1):
        row = Row(f"a.csv:{number}", text, "<b>loud</b>", None, {})
        report.count_row(row)
        cleaned = clean_documents([Draft(row.text, row.target, row.metadata)], STEPS)[0]
        report.count_changes(cleaned.changes)
        report.observe(row, cleaned)
        if cleaned.dropped is not None:
            report.count_drop(cleaned.dropped, Split.test, cleaned.dropped_by, num_bytes=row.num_bytes)
        elif number == 3:
            report.count_drop("near_duplicate", Split.train, num_bytes=row.num_bytes)
        else:
            documents.append(Document(f"id-{number}", cleaned.text, row.label, None, {"language": "en", "copies": "1"}))
            report.count_kept(row, documents[-1], Split.train)
    bad = BadRow("b.csv:9", BadRowReason.ragged, f"x,{SECRET},<script>", num_bytes=40)
    report.count_row(bad)
    report.set_near_duplicates(clusters=1, pairs=1, dropped=1)
    report.set_leakage(test_documents=4, leaked=1, examples=[{"test": "id-1", "train": "id-2", "overlap": 0.5}])
    report.causes = {"b.csv": f"Line 9 has 3 cells: x,{SECRET}"}
    for split in Split:
        write_documents(documents_path(tmp_path, split), documents if split is Split.train else [])
    pq.write_table(
        pa.table({"where": ["b.csv:9"], "reason": ["ragged"], "row": [bad.row]}), tmp_path / "quarantine.parquet"
    )
    dropped = {
        "where": ["a.csv:3"], "reason": ["near_duplicate"], "text": [f"Help!! Ask {SECRET}"], "twin": ["id-1"],
        "similarity": [0.81], "containment": [0.93],
    }  # fmt: skip
    pq.write_table(pa.table(dropped), tmp_path / "dropped.parquet")
    report.illustrate(tmp_path, STEPS)
    return report
