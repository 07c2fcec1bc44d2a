"""Labels: one class has one name, `labels.map` names them, and a table shows what is odd among them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from langmill.config.compose import compose_corpus, plain
from langmill.config.sections import Corpus, Labels
from langmill.config.typed import typed
from langmill.data.contradictions import Contradictions
from langmill.data.corpus import make_corpus
from langmill.data.document import Split
from langmill.data.labels import LabelTable, label_map
from langmill.data.readers import read_rows
from langmill.data.rows import BadRow, Row
from langmill.data.spool import Spooled
from langmill.errors import DataError
from tests.refused import refused
from tests.unit.data.settings import CONF, fields, file_format, settings

pytestmark = pytest.mark.unit
NAMES: dict[str, str | None] = {"0": "negative", "1": "positive"}


def rows_of(folder: Path, labels: dict[str, str | None], table: LabelTable | None = None) -> list[Row | BadRow]:
    return list(read_rows(folder, file_format(), fields("text", "label"), labels=labels, table=table))


def labelled(folder: Path, *values: object) -> None:
    lines = [json.dumps({"text": f"text {number}", "label": value}) for number, value in enumerate(values)]
    (folder / "a.jsonl").write_text("\n".join(lines))


@pytest.mark.parametrize(("value", "name"), [(0, "negative"), ("1", "positive"), (1.0, "positive"), (None, None)])
def test_labels_get_the_corpus_names(tmp_path: Path, value: object, name: str | None) -> None:
    labelled(tmp_path, value)
    assert rows_of(tmp_path, NAMES) == [Row("a.jsonl:1", "text 0", name, None, {})]


@pytest.mark.parametrize("value", [2, "negative", True])
def test_a_label_without_a_name_is_quarantined(tmp_path: Path, value: object) -> None:
    labelled(tmp_path, value)
    assert [row.reason for row in rows_of(tmp_path, NAMES) if isinstance(row, BadRow)] == ["unknown_label"]


def test_null_leaves_the_rows_of_a_label_out(tmp_path: Path) -> None:
    labelled(tmp_path, 0, 1, "1.0", 0)
    rows = rows_of(tmp_path, {"0.0": "no", "1": None})
    assert [row.label if isinstance(row, Row) else row.reason for row in rows] == [
        "no", "excluded_label", "excluded_label", "no",
    ]  # fmt: skip


def test_a_map_with_one_label_twice_is_refused() -> None:
    assert label_map({"0": "a", "1.0": None}) == {"0": "a", "1": None}
    with refused(DataError, "duplicate", "labels.map", "1.0"):
        label_map({"1": "a", "1.0": "b"})
    with refused(DataError, "unknown", "labels.map", "nan"):
        label_map({"nan": "a"})


def test_the_reviews_have_names_for_labels() -> None:
    assert compose_corpus("reviews", CONF).labels.map == NAMES


def test_the_old_key_is_still_read() -> None:
    corpus = compose_corpus("reviews", CONF)
    values = plain(corpus)
    del values["labels"]
    values["fields"]["label_names"] = NAMES
    assert typed(Corpus, values, "old.yaml") == corpus


def test_the_table(tmp_path: Path) -> None:
    values = ["b", '"b"', " B", "True", True, 1, 1.0, "1", None, "nan", float("nan"), "NA", "", "c", "ab"]
    labelled(tmp_path, *values * 2)
    table = LabelTable()
    rows = rows_of(tmp_path, {}, table)
    told = table.as_json()
    assert told["look_alike"] == [
        {"1": 4, "1.0": 2}, {' B': 2, '"b"': 2, "b": 2}, {"True": 2, "true": 2},
    ]  # fmt: skip
    assert told["one_class"] == [True, False, False]
    assert told["null_like"] == {"": 2, "NA": 2, "NaN": 2, "nan": 2}
    assert told["taken_for_none"] == ["", "NaN", "nan"]
    assert told["unlabelled"] == sum(row.label is None for row in rows if isinstance(row, Row)) == 8
    assert told["counts"]["1"] == 6
    assert set(told["rare"]) == set(told["counts"])
    assert sum(told["counts"].values()) + told["unlabelled"] == len(rows)
    json.dumps(told, allow_nan=False)


def test_a_field_that_holds_no_classes_keeps_the_memory_flat() -> None:
    table = LabelTable()
    for number in range(10_100):
        table.count(str(number), str(number), str(number))
    told = table.as_json()
    assert (len(told["counts"]), told["others"]) == (10_000, 100)


def test_contradictions_are_counted_and_some_are_shown() -> None:
    labels = np.array([0, 1, 0, 0, 0, 2, 2, 0, 1], np.int32)  # 2 is no label
    groups = np.array([0, 0, 0, 1, 1, 2, 2, 3, 3], np.int64)
    found = Contradictions(labels, groups, 2)
    names = {0: "neg", 1: "pos", 2: None}
    for number, (label, group) in enumerate(zip(labels, groups, strict=True)):
        found.see(number, Spooled(f"a.csv:{number}", 1, f"text {group}", names[int(label)], None, {}))
    assert found.groups == 2
    assert found.examples() == [
        {"text": "text 0", "labels": {"neg": 2, "pos": 1}, "where": ["a.csv:0", "a.csv:1", "a.csv:2"]},
        {"text": "text 3", "labels": {"neg": 1, "pos": 1}, "where": ["a.csv:7", "a.csv:8"]},
    ]
    table = LabelTable()
    table.set_contradictions(found.groups, found.examples())
    assert table.as_json()["contradictory"] == {"groups": 2, "examples": found.examples()}


def test_what_is_odd_is_said_in_sentences(tmp_path: Path) -> None:
    labelled(tmp_path, "pos", "Pos", "neg", 1, 1.0, "none", "nan")
    table = LabelTable()
    rows_of(tmp_path, {}, table)
    table.set_contradictions(1, [])
    alike, nothing, contradictory = table.warnings()
    assert "Pos: 1, pos: 1" in alike
    assert "none: 1" in nothing
    assert "nan" not in nothing
    assert "1 text has several labels" in contradictory
    assert LabelTable().warnings() == []


def test_many_contradictions_show_a_few() -> None:
    found = Contradictions(np.arange(20, dtype=np.int32) % 2, np.arange(20, dtype=np.int64) // 2, -1)
    for number in range(20):
        found.see(number, Spooled("a.csv:1", 1, "x", str(number % 2), None, {}))
    assert (found.groups, len(found.examples())) == (10, 5)


def test_the_report_of_a_corpus_has_the_table(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    out.mkdir()
    labelled(raw, *("pos", "neg", "0") * 20)
    with (raw / "a.jsonl").open("a") as file:
        file.write(
            '\n{"text": "A text of its own.", "label": "pos"}\n{"text": "a text  of its own.", "label": "neg"}\n'
        )
    wanted = replace(settings(fields("text", "label")), labels=Labels({"pos": "good", "neg": "bad", "0": None}))
    report = make_corpus(raw, out, wanted, lambda _: None)
    table = report.as_json()["labels"]
    assert table["counts"] == {"bad": 21, "good": 21}
    assert table["contradictory"]["groups"] == 1
    assert table["contradictory"]["examples"][0]["labels"] == {"bad": 1, "good": 1}
    assert report.quarantined == {"excluded_label": 20}
    assert set(report.splits[Split.train].labels) == {"good", "bad"}
