"""What comes in is what is kept, dropped, quarantined or removed, in rows and in bytes."""

from __future__ import annotations

import itertools

import pytest

from langmill.data.document import Document, Split
from langmill.data.report import Report
from langmill.data.report.counts import histogram
from langmill.data.report.lines import FrequentLines
from langmill.data.report.markdown import account_table
from langmill.data.rows import BadRow, BadRowReason, Row

pytestmark = pytest.mark.unit


def test_the_account_adds_up_in_bytes(report: Report) -> None:
    report.require_balance()
    told = report.as_json()
    parts = told["bytes"]
    assert parts["read"] == sum(
        (parts["quarantined"], *parts["dropped"].values(), parts["removed_by_cleaning"], parts["kept"])
    )
    assert parts["quarantined"] == 40
    assert parts["dropped"] == {"no_shout": len("quiet"), "near_duplicate": len("Help! Write to us")}
    assert told["sources"] == {
        "a.csv": {"rows": 4, "kept": 2, "bytes": parts["read"] - 40, "kept_bytes": parts["kept"]},
        "b.csv": {"rows": 1, "kept": 0, "bytes": 40, "kept_bytes": 0},
    }
    assert told["languages"] == {"en": 2} and told["copies"] == {"1": 2}
    assert told["privacy"] == {"email": 1}
    assert told["leakage"]["share"] == 0.25


def test_what_vanishes_or_counts_twice_is_a_bug() -> None:
    report = Report("calls")
    row = Row("a.csv:1", "text", None, None, {})
    report.count_row(row)
    with pytest.raises(AssertionError, match="1 rows and 4 bytes"):
        report.require_balance()
    report.count_kept(row, Document("a", "text"), Split.train)
    report.require_balance()
    report.count_drop("duplicate", Split.train, num_bytes=row.num_bytes)
    with pytest.raises(AssertionError, match="-1 rows and -4 bytes"):
        report.require_balance()


def test_cleaning_may_add_bytes_and_a_document_be_written_twice() -> None:
    report = Report("calls")
    row, document = Row("a.csv:1", "a", None, "b", {}), Document("a", "äöü", None, "b")
    report.count_row(row)
    report.count_kept(row, document, Split.train)
    report.count_repeat(document, Split.train)
    report.require_balance()
    told = report.as_json()
    assert (told["bytes"]["kept"], told["bytes"]["removed_by_cleaning"]) == (7, -5)
    assert (told["documents"], told["repeated"]) == (2, {"documents": 1, "bytes": 7})
    assert told["splits"]["train"]["target_length_quantiles"]["0.5"] == 1
    assert sum(told["target_lengths"]["train"]) == 2
    table = account_table(told).splitlines()[2:]
    rows = [[int(cell or 0) for cell in line.replace(",", "").strip("| ").split(" | ")[1:]] for line in table]
    assert rows[-1] == [2, 14] and "| written once more | 1 | 7 |" in table
    assert [sum(column) for column in zip(*rows[:-1], strict=True)] == rows[-1]
    page = report.as_html()
    assert "<h3>Texts</h3>" in page and "<h3>Targets</h3>" in page


def test_a_field_names_the_sources_and_rows_without_one_go_by_their_file() -> None:
    report = Report("calls")
    for where, source in (("a.csv:1", "wiki"), ("a.csv:2", "news"), ("a.csv:3", "")):
        row = Row(where, "text", None, None, {"source": source})
        report.count_row(row)
        report.count_kept(row, Document(where, "text", None, None, row.metadata), Split.train)
    report.count_row(BadRow("a.csv:4", BadRowReason.corrupt, "x", num_bytes=1))
    assert {name: count["rows"] for name, count in report.as_json()["sources"].items()} == {
        "a.csv": 1, "news": 1, "wiki": 1,
    }  # fmt: skip


def test_a_histogram_counts_each_length_once() -> None:
    lengths = {"train": [1, 9, 10, 11, 12, 1000], "test": [10]}
    found = histogram(lengths)
    edges = found["edges"]
    assert edges[0] == 1 and edges[-2] <= 1000 < edges[-1] and edges == sorted(set(edges))
    for name, values in lengths.items():
        expected = [sum(low <= value < high for value in values) for low, high in itertools.pairwise(edges)]
        assert found[name] == expected
    assert histogram({"train": [500, 600]})["edges"][0] == 398
    assert histogram({"train": []}) == {"edges": [], "train": []}


def test_frequent_lines_outlive_rare_ones() -> None:
    lines = FrequentLines(distinct=10)
    for number in range(100):
        lines.add(["menu", f"line {number}"])
    assert lines.total == 200
    assert lines.most_frequent()[0][0] == "menu"
    assert lines.most_frequent()[0][1] >= 100 - lines.missed > 0
