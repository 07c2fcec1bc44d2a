"""What has changed since someone last looked."""

from __future__ import annotations

import pytest

from langmill.config.sections import Reference
from langmill.data.document import Document, Split
from langmill.data.report import Report
from langmill.data.report.comparison import Size, difference
from langmill.data.report.page import page
from langmill.data.rows import Row

pytestmark = pytest.mark.unit


def test_sizes_lengths_and_shares_then_and_now() -> None:
    report = Report("calls")
    for number in range(1, 101):
        split = Split.train if number <= 50 else Split.test
        row = Row(f"a.csv:{number}", "x" * number, "a" if number <= 75 else "b", None, {})
        report.count_row(row)
        report.count_kept(row, Document(f"id-{number}", row.text, row.label), split)
    reference = Reference(50, 5050, [(10, 0.05), (50, 0.5), (120, 1.0)], [], {"a": 0.5, "c": 0.5}, {})
    facts = report.as_json()
    found = difference(facts, reference)
    assert found.sizes == [
        Size("documents", "50", "100", "+100.00%"),
        Size("bytes", "5.05 kB", "5.05 kB", "none"),
        Size("length, 5%", "10", "5", "-50.00%"),
        Size("length, 25%", "50", "25", "-50.00%"),
        Size("length, median", "50", "50", "none"),
        Size("length, 75%", "120", "75", "-37.50%"),
        Size("length, 95%", "120", "95", "-20.83%"),
    ]
    ((title, distance, lines),) = found.shares
    assert (title, distance) == ("Labels", pytest.approx(0.5))
    assert lines == [("c", 0.5, 0.0), ("a", 0.5, 0.75), ("b", 0.0, 0.25)]
    assert 'id="reviewed"' in page(facts, None, reference)
