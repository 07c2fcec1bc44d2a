"""The report says the right figures, for machines and for people."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from langmill.config.core_yaml import read_yaml
from langmill.data.document import Document, Split
from langmill.data.readers import BadRow, BadRowReason
from langmill.data.report import FEW_DOCUMENTS, Report, StepCount
from langmill.data.report.markdown import summary
from langmill.data.rows import Row

pytestmark = pytest.mark.unit


@pytest.fixture
def report() -> Report:
    report = Report("films")
    for number in range(1, 102):
        label = "good|bad" if number <= 60 else None
        report.count_row(Row(f"a.csv:{number}", "é" * number, label, None, {}))
        document = Document(f"id {number}", "é" * number, label)
        report.splits[Split.train].add(document, number.to_bytes(2, "big"))
    report.count_row(BadRow("b.csv:3", BadRowReason.ragged, "x,y"))
    report.count_row(Row("b.csv:4", "x", None, None, {}))
    report.steps = {"markup": StepCount(), "length": StepCount()}
    report.count_changes([("markup", ("tag", "tag", "entity"))])
    report.count_drop("too_short", Split.test, "length")
    report.places = {f"id {number}": f"a.csv:{number}" for number in (99, 100, 101)}
    report.skipped = {".md": 2, "hidden": 1}
    report.causes = {"b.csv": "It is | broken."}
    report.readings = {"a.csv": "Its text is read as cp1252."}
    report.set_labels({
        "look_alike": [{"Good": 1, "good": 3}], "one_class": [False], "null_like": {"NA": 2}, "taken_for_none": [],
        "rare": {}, "contradictory": {"groups": 1, "examples": [
            {"text": "So so.", "labels": {"bad": 1, "good": 1}, "where": ["a.csv:3", "a.csv:7"]},
        ]},
    })  # fmt: skip
    report.duplicates = report.other_label = 1
    return report


def test_figures(report: Report) -> None:
    told = report.as_json()
    assert told["files"] == {"a.csv": 101, "b.csv": 2}
    train = told["splits"]["train"]
    assert train["documents"] == 101
    assert train["characters"] == 5151
    assert train["bytes"] == 10302
    assert train["length_quantiles"] == {"0": 1, "0.05": 6, "0.25": 26, "0.5": 51, "0.75": 76, "0.95": 96, "1": 101}
    assert train["labels"] == {"good|bad": 60}
    assert train["unlabelled"] == 41
    assert [sample["id"] for sample in train["samples"]] == ["id 101", "id 100", "id 99"]
    assert [sample["where"] for sample in train["samples"]] == ["a.csv:101", "a.csv:100", "a.csv:99"]
    assert (told["skipped_files"], told["causes"]) == ({".md": 2, "hidden": 1}, {"b.csv": "It is | broken."})
    assert (train["dropped"], told["splits"]["test"]["dropped"]) == ({}, {"too_short": 1})
    assert told["cleaning"]["length"] == {"changed": 0, "changes": {}, "dropped": {"too_short": 1}}
    assert told["splits"]["test"]["length_quantiles"] == {}
    json.dumps(told, allow_nan=False)


def test_markdown(report: Report) -> None:
    text = report.as_markdown()
    for line in (
        "# The corpus films",
        "| rows read | 103 | 10,303 |",
        "| quarantined: ragged | -1 | 0 |",
        "| dropped: too short | -1 | 0 |",
        "| **documents** | 101 | 0 |",
        "| markup | 1 | entity: 1, tag: 2 | 0 |  |",
        "| length | 0 |  | 1 | too short: 1 |",
        "| train | 101 | 100.00% | 10,302 |",
        "| train | 1 | 6 | 26 | 51 | 76 | 96 | 101 |",
        r"| good\|bad | 60 | 0 | 0 |",
        "| (no label) | 41 | 0 | 0 |",
        "Documents that read like an earlier one: 1; of these with another label: 1.",
        "| b.csv | 2 |",
        "**a.csv:101** (train",
        "Files of the source that were not read: .md: 2, hidden: 1.",
        "### What is wrong with files\n\n- b.csv: It is \\| broken.",
        "### How files were read\n\n- a.csv: Its text is read as cp1252.",
        "Look alike and are different labels; labels.map makes them one: good: 3, Good: 1.",
        "Look like no label and are labels; labels.map can say so: NA: 2.",
        "Contradictory: 1 text with different labels.\n\n> So so. (bad: 1, good: 1; a.csv:3, a.csv:7)",
    ):
        assert line in text


def test_the_summary_has_the_account_and_leads_to_the_page(report: Report, tmp_path: Path) -> None:
    text = summary(report.as_json(), tmp_path / "report.html")
    assert "| rows read | 103 | 10,303 |" in text and "30 are missing" in text
    assert f"]({(tmp_path / 'report.html').as_uri()})" in text
    assert len(text) < 1500


def test_account(report: Report) -> None:
    assert report.account() == (
        "103 rows read, 1 quarantined (ragged: 1; the first is b.csv:3), 1 dropped (too short: 1)"
    )


def test_samples_break_no_markdown() -> None:
    report = Report("films")
    report.splits[Split.test].add(Document("a:1", "# head\n\n| <script> x"), b"")
    assert r"> # head \| &lt;script> x" in report.as_markdown()


def test_many_labels_are_summed_up() -> None:
    report = Report("films")
    for number in range(25):
        report.splits[Split.train].add(Document(f"a:{number}", "x", f"label {number:02}"), b"")
    assert "| label 19 | 1 | 0 | 0 |\n| 5 others | 5 | 0 | 0 |\n\n" in report.as_markdown()  # and no row of nothing


def test_too_few_test_documents_are_said_with_the_number_that_is_missing(report: Report) -> None:
    sentence = report.warning()
    for fact in (
        "The corpus films",
        "0 test documents",
        "min_documents asks for 30",
        "30 are missing",
        "add documents.",
    ):
        assert fact in sentence
    assert sentence in report.as_markdown()
    for number in range(FEW_DOCUMENTS):
        report.splits[Split.test].add(Document(f"test {number}", "text"), bytes([number]))
    assert report.warning() == ""


def test_the_report_warns_where_the_shipped_gate_would_refuse() -> None:
    rules = read_yaml(Path(__file__).parents[3] / "conf" / "gate" / "base.yaml")["rules"]
    assert rules["enough_documents"]["min_documents"] == FEW_DOCUMENTS
