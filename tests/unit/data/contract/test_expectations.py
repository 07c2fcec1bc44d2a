"""Each expectation: passed, warned, breached with the number, the limit and the rows, or not asked."""

from __future__ import annotations

from typing import Any

import pytest

from langmill.config.sections import Contract, Reference
from langmill.data.contract.base import EXPECTATIONS, build_expectations
from langmill.data.contract.findings import Finding, Outcome
from langmill.data.document import Document
from langmill.errors import ConfigError
from tests.refused import refused
from tests.unit.data.contract.corpora import evidence, labelled, write_corpus

pytestmark = pytest.mark.unit
REFERENCE = Reference(
    10, 100, [(10, 0.5), (20, 1.0)], [(5, 1.0)], {"bad": 0.5, "good": 0.4}, {"en": 1.0}
)  # a tenth of the labels is of rarer ones
LANGUAGES = {"d0": {"metadata": {"language": "en"}}, "d1": {"metadata": {"language": "de"}}}
SOURCES = {
    "sources": {
        "a.csv": {"rows": 200, "kept": 4, "bytes": 1, "kept_bytes": 1},
        "b.csv": {"rows": 200, "kept": 150, "bytes": 1, "kept_bytes": 1},
        "few.csv": {"rows": 9, "kept": 0, "bytes": 1, "kept_bytes": 1},
    },
    "files": {"a.csv": 200, "b.csv": 200, "few.csv": 9},
}
BYTES = {"bytes": {"read": 1000, "quarantined": 20}, "quarantined": {"corrupt": 1, "unreadable_file": 1}}
LEAKED = {"test_documents": 50, "leaked": 5, "share": 0.1, "examples": [{"test": "t1", "train": "r7", "overlap": 0.5}]}
BAD = [
    {"where": "a.csv:7", "reason": "corrupt", "row": '"x'},
    {"where": "b.csv.gz", "reason": "unreadable_file", "row": ""},
]
GONE = [
    {"where": "b.csv:3", "reason": "too_short", "text": "no"},
    {"where": "a.csv:9", "reason": "near_duplicate", "text": "twice"},
]


def ask(
    tmp_path: Any, name: str, options: dict[str, Any], documents: list[Document] | None = None, **report: Any
) -> list[Finding]:
    folder = write_corpus(tmp_path, documents or labelled(10), report, quarantine=BAD, dropped=GONE)
    rules = build_expectations(Contract({name: options}, None), "conf/corpus/tiny.yaml")
    return list(rules[name].ask(evidence(folder, REFERENCE)))


@pytest.mark.parametrize(
    ("name", "limits", "outcome", "value", "limit", "rows", "facts"),
    [
        ("documents", {"stop": [5, 20]}, "passed", 10, "stop: [5, 20]", [], ["10 documents"]),
        ("documents", {"stop": [11, None], "warn": [0, 9]}, "breached", 10, "stop: 11", [], ["at least 11"]),
        ("documents", {"stop": [5, None], "warn": [None, 9]}, "warned", 10, "warn: 9", [], ["at most 9"]),
        ("bytes", {"stop": [None, 99]}, "breached", 100, "stop: 99", [], ["100 bytes"]),
        ("quarantined", {"stop": 0.1}, "breached", 0.2, "stop: 0.1", ["a.csv:7", "b.csv.gz"], ["2 of 10 rows (20%)"]),
        ("quarantined", {"stop": 0.5, "warn": 0.1}, "warned", 0.2, "warn: 0.1", ["a.csv:7", "b.csv.gz"], []),
        ("unread", {"stop": 0.01}, "breached", 0.02, "stop: 0.01", ["a.csv:7", "b.csv.gz"], ["20 of 1,000 bytes (2%)"]),
        ("survival", {"stop": 0.02, "warn": 0.5}, "warned", 0.02, "warn: 0.5", ["a.csv:9", "a.csv:7"],
         ["a.csv lost 98%", "4 of 200"]),
        ("survival", {"stop": 0.03}, "breached", 0.02, "stop: 0.03", ["a.csv:9", "a.csv:7"], ["Source a.csv lost 98%"]),
        ("near_duplicates", {"stop": 0.2}, "breached", 0.3, "stop: 0.2", ["a.csv:9"], ["3 of 10 rows"]),
        ("leakage", {"stop": 0.05}, "breached", 0.1, "stop: 0.05", ["t1"], ["5 of 50 test documents"]),
    ],
)  # fmt: skip
def test_what_is_read_from_the_report(tmp_path, name, limits, outcome, value, limit, rows, facts):
    near = {"clusters": 1, "pairs": 1, "dropped": 3}
    finding = ask(tmp_path, name, limits, **SOURCES, **BYTES, near_duplicates=near, leakage=LEAKED)[0]
    assert (finding.outcome.value, finding.value, finding.limit) == (outcome, pytest.approx(value), limit)
    assert [row.where or row.id for row in finding.rows] == rows
    assert all(fact in finding.sentence for fact in facts), finding.sentence


@pytest.mark.parametrize(
    ("name", "limits", "changed", "outcome", "value", "rows"),
    [
        ("nulls", {"stop": {"label": 0.0}, "warn": {}}, {"d3": {"label": None}}, "breached", 0.1, ["d3"]),
        ("nulls", {"stop": {"metadata.source": 0.5}, "warn": {"metadata.source": 0}},
         {"d9": {"metadata": {"source": ""}}}, "warned", 0.1, ["d9"]),
        ("nulls", {"stop": {"metadata.source": 0}, "warn": {}}, {"d9": {"metadata": {}}}, "breached", 0.1, ["d9"]),
        ("nulls", {"stop": {"metadata.absent": 0.5}, "warn": {}}, {}, "breached", 1.0, [f"d{i}" for i in range(10)]),
        ("nulls", {"stop": {"target": 1.0}, "warn": {}}, {}, "passed", 1.0, []),
        ("types", {"fields": {"metadata.stars": "whole_number"}, "stop": 0.1}, {"d1": {"metadata": {"stars": "5"}},
         "d2": {"metadata": {"stars": "many"}}}, "breached", 0.5, ["d2"]),
        ("types", {"fields": {"metadata.stars": "number"}, "stop": 0}, {"d1": {"metadata": {"stars": "5"}},
         "d2": {"metadata": {"stars": "-1.5e3"}}}, "passed", 0, []),
        ("label_set", {"labels": ["bad", "good"], "stop": 0}, {"d4": {"label": "ugly"}}, "breached", 0.1, ["d4"]),
        ("label_set", {"labels": ["bad", "good"], "stop": 0.2, "warn": 0}, {"d4": {"label": "ugly"}}, "warned", 0.1,
         ["d4"]),
        ("label_balance", {"stop": {"good": [0.4, 0.6]}, "warn": {}}, {}, "passed", 0.5, []),
        ("label_balance", {"stop": {"good": [0.6, None]}, "warn": {}}, {}, "breached", 0.5, []),
        ("languages", {"allowed": ["en"], "stop": 0.4}, LANGUAGES, "breached", 0.5, ["d1"]),
        ("languages", {"allowed": ["en"], "stop": 0}, {**LANGUAGES, "d1": {"metadata": {"language": ""}}}, "passed", 0,
         []),
        ("lengths", {"stop": {"1": [None, 12]}, "warn": {}}, {"d8": {"text": "x" * 13}}, "breached", 13, ["d8"]),
        ("lengths", {"stop": {"0.5": [5, 12]}, "warn": {"0": [9, None]}}, {"d8": {"text": "short"}}, "passed", 10, []),
        ("target_lengths", {"stop": {"0.5": [3, None]}, "warn": {}}, {"d2": {"target": "no"}}, "breached", 2, ["d2"]),
        ("label_shift", {"stop": 0.05}, {}, "breached", 0.1, []),
        ("label_shift", {"stop": 0.2, "warn": 0.15}, {}, "passed", 0.1, []),
        ("language_shift", {"stop": 0.4}, LANGUAGES, "breached", 0.5, []),
        ("length_shift", {"stop": 0.6, "warn": 0.4}, {}, "warned", 0.5, []),
    ],
)  # fmt: skip
def test_what_is_read_from_the_documents(tmp_path, name, limits, changed, outcome, value, rows):
    finding = ask(tmp_path, name, limits, labelled(10, **changed))[0]
    assert (finding.outcome.value, finding.value) == (outcome, pytest.approx(value))
    assert [row.id for row in finding.rows] == rows
    assert all(row.where for row in finding.rows)  # where it stands in the raw files


@pytest.mark.parametrize(
    ("name", "limits"),
    [
        ("survival", {"stop": 0.1}),
        ("unread", {"stop": 0.1}),
        ("near_duplicates", {"stop": 0.1}),
        ("leakage", {"stop": 0.1}),
        ("languages", {"allowed": ["en"], "stop": 0.1}),
        ("target_lengths", {"stop": {"0.5": [1, 2]}, "warn": {}}),
        ("language_shift", {"stop": 0.1}),
    ],
)
def test_what_the_corpus_does_not_have_is_not_asked(tmp_path, name, limits):
    (finding,) = ask(tmp_path, name, limits)
    assert finding.outcome is Outcome.not_asked
    assert finding.sentence


def test_small_files_survive_or_not_with_those_beside_them(tmp_path):
    """Of an archive or a folder that is lost as a whole, no file has rows enough to be judged by itself."""
    lost = [f"a.zip:in/{number}.txt" for number in range(60)] + [f"a.zip:out/{number}.txt" for number in range(60)]
    kept = [f"letters/{number}.txt" for number in range(150)]
    sources = {name: {"rows": 1, "kept": int(name in kept)} for name in [*lost, *kept, "b.csv"]}
    sources["c.csv"] = {"rows": 500, "kept": 400}
    findings = ask(tmp_path, "survival", {"stop": 0.5}, sources=sources, files=dict.fromkeys(sources, 1))
    assert [(each.sentence.split(" lost ")[0], each.outcome.value, each.value) for each in findings] == [
        ("Source a.zip (120 files)", "breached", 0.0), ("Source c.csv", "passed", 0.8),
        ("Source letters (150 files)", "passed", 1.0),
    ]  # fmt: skip


def test_without_a_reference_there_is_no_shift(tmp_path):
    folder = write_corpus(tmp_path, labelled(4))
    rules = build_expectations(Contract({"label_shift": {"stop": 0}, "length_shift": {"stop": 0}}, None), "x")
    assert {one.outcome for rule in rules.values() for one in rule.ask(evidence(folder))} == {Outcome.not_asked}


def test_a_listed_label_without_a_document_stops(tmp_path):
    options = {"labels": ["bad", "good", "neutral"], "stop": 1}
    assert [one.outcome.value for one in ask(tmp_path, "label_set", options)] == ["passed", "breached"]
    assert len(ask(tmp_path, "label_set", {**options, "complete": False})) == 1


def test_a_damaged_file_stops_however_few_its_bytes(tmp_path):
    share, damaged = ask(tmp_path, "unread", {"stop": 1, "damaged_files": 0}, **BYTES)
    assert (share.outcome, damaged.outcome) == (Outcome.passed, Outcome.breached)
    assert [row.where for row in damaged.rows] == ["b.csv.gz"]


def test_of_a_damaged_file_many_rows_may_tell(tmp_path):
    rows = {**BYTES, "quarantined": {"unreadable_file": 2}}
    assert ask(tmp_path, "unread", {"stop": 1, "damaged_files": 1}, **rows)[1].value == 2  # of an earlier version
    _, damaged = ask(tmp_path, "unread", {"stop": 1, "damaged_files": 1}, **rows, damaged_files=["b.csv.gz"])
    assert (damaged.value, damaged.outcome) == (1, Outcome.passed)


def test_at_most_ten_rows_are_shown(tmp_path):
    finding = ask(tmp_path, "label_set", {"labels": ["x"], "stop": 0}, labelled(30))[0]
    assert [row.id for row in finding.rows] == [f"d{number}" for number in range(10)]


@pytest.mark.parametrize(
    ("name", "options", "code", "facts"),
    [
        ("lenghts", {}, "unknown", ["Did you mean lengths"]),
        ("nulls", {"stop": {"lable": 0}, "warn": {}}, "impossible", ["label, target or metadata.NAME"]),
        ("leakage", {"stop": 2}, "impossible", ["contract.expectations.leakage.stop"]),
        ("leakage", {"limit": 0.2}, "unknown", ["contract.expectations.leakage.limit"]),
        ("documents", {"stop": [9, 1]}, "impossible", ["[least, most]"]),
        ("lengths", {"stop": {"median": [1, 2]}, "warn": {}}, "impossible", ["shares from"]),
    ],
)
def test_what_no_expectation_has_is_refused_with_its_key(name, options, code, facts):
    with refused(ConfigError, code, *facts):
        build_expectations(Contract({name: options}, None), "conf/corpus/tiny.yaml")


def test_null_leaves_one_out_and_a_misspelt_one_is_refused():
    assert build_expectations(Contract({"lengths": None}, None), "x") == {}
    with pytest.raises(ConfigError):
        build_expectations(Contract({"lenghts": None}, None), "x")
    assert len(EXPECTATIONS.names()) == 17


def test_what_was_read_and_left_out_is_not_unread(tmp_path):
    """Fuzzy translations, fragments of poems, labels that the settings leave out."""
    reasons = {"unfinished": 50, "excluded_label": 30, "corrupt": 1}
    counted = {
        "read": 1000,
        "quarantined": 420,
        "quarantined_by_reason": {"unfinished": 400, "missing_text": 10, "corrupt": 10},
    }
    report = {"bytes": counted, "quarantined": reasons, "rows": 181}
    (found,) = ask(tmp_path, "unread", {"stop": 0.01}, **report)
    assert found.value == pytest.approx(10 / 590)
    (found,) = ask(tmp_path, "quarantined", {"stop": 0.01}, **report)
    assert found.value == pytest.approx(1 / 101)
