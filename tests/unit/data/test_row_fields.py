"""The fields of a row become text, label, target and metadata; a field that no row has is refused."""

from __future__ import annotations

import datetime
import json
import os
from pathlib import Path

import pytest

from langmill.config.sections import Fields
from langmill.data.rows import BadRow, BadRowReason, Row
from langmill.errors import DataError
from tests.refused import refused
from tests.unit.data.folder_rows import CONTENT, bad, parquet, read, texts
from tests.unit.data.settings import fields

pytestmark = pytest.mark.unit


def test_fields_become_parts_of_the_document(tmp_path: Path) -> None:
    day = datetime.date(2020, 1, 2)
    rows: dict[str, list[object]] = {
        "body": ["one", "two", "three"],
        "stars": [1.0, 2.5, None],
        "out": ["eins", None, "drei"],
        "day": [day, day, None],
        "tags": [["x", "y"], [], None],
    }
    (tmp_path / "a.parquet").write_bytes(parquet(**rows))
    first, second, third = read(tmp_path, fields("body", "stars", "out", "day", "tags"))
    assert first == Row("a.parquet:1", "one", "1", "eins", {"day": "2020-01-02", "tags": '["x", "y"]'})
    assert second == Row("a.parquet:2", "two", "2.5", None, {"day": "2020-01-02", "tags": "[]"})
    assert third == Row("a.parquet:3", "three", None, "drei", {"day": "", "tags": ""})


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ("1", "1"),
        (" pos ", "pos"),
        ("", None),
        (None, None),
        (0, "0"),
        (True, "true"),
        (1.0, "1"),
        (float("nan"), None),
        ("1.0", "1"),
        ("-2.00", "-2"),
        ("1.50", "1.50"),
        ("1.10.0", "1.10.0"),
        ("NaN", None),
        ("null", None),
        ("<NA>", None),
        ("none", "none"),
        ("e\u0301", "é"),
        ("\ufeffpos", "pos"),
        ("p\u0000os\r", "pos"),
    ],
)
def test_labels_are_text(tmp_path: Path, value: object, label: str | None) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "x", "label": value}))
    assert read(tmp_path, fields("text", "label")) == [Row("a.jsonl:1", "x", label, None, {})]


def test_a_number_that_is_none_is_no_text_and_no_target(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": NaN, "to": "x"}\n{"text": "y", "to": NaN}\n')
    missing, row = read(tmp_path, fields("text", None, "to"))
    assert isinstance(missing, BadRow)
    assert missing.reason is BadRowReason.missing_text
    assert row == Row("a.jsonl:2", "y", None, None, {})


def test_one_class_has_one_name_in_every_format(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\na,1\nb,1.0\nc,NaN\nd,\n")
    (tmp_path / "b.jsonl").write_text('{"text": "e", "label": 1}\n{"text": "f", "label": 1.0}\n')
    (tmp_path / "c.parquet").write_bytes(parquet(text=["g", "h"], label=[1.0, None]))
    assert [row.label for row in read(tmp_path, fields("text", "label")) if isinstance(row, Row)] == [
        "1", "1", None, None, "1", "1", "1", None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "target"),
    [
        (["one", "two"], "one\ntwo"),
        (["one"], "one"),
        ([], None),
        ("one", "one"),
        (None, None),
        (42, "42"),
        (2.5, "2.5"),
        (True, "true"),
    ],
)
def test_a_list_of_texts_is_a_target_of_lines_and_a_number_is_written(
    tmp_path: Path, value: object, target: str | None
) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "x", "to": value}))
    assert read(tmp_path, fields("text", None, "to")) == [Row("a.jsonl:1", "x", None, target, {})]


def test_a_list_of_something_else_is_no_target(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x", "to": ["a", 1]}')
    assert bad(tmp_path, fields("text", None, "to")) == [("a.jsonl:1", "wrong_type")]


def test_columns_without_a_name_are_numbered(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,,\na,b,c\n")
    wanted = fields("text", None, None, "column 2", "column 3")
    assert read(tmp_path, wanted) == [Row("a.csv:2", "a", None, None, {"column 2": "b", "column 3": "c"})]


def test_lone_surrogates_can_be_written_to_a_file(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jsonl")
    (tmp_path / name).write_text('{"text": "a", "label": "\\ud800", "m": "\\udfff"}')
    assert read(tmp_path, fields("text", "label", None, "m")) == [
        Row("caf%E9.jsonl:1", "a", "\\ud800", None, {"m": "\\udfff"})
    ]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        (fields("body"), "fields.text"),
        (fields("text", "sentiment"), "fields.label"),
        (fields("text", None, "answer"), "fields.target"),
        (fields("text", None, None, "n", "year"), "fields.metadata"),
    ],
)
def test_a_field_that_no_row_has(tmp_path: Path, name: str, wanted: Fields, field: str) -> None:
    (tmp_path / name).write_bytes(CONTENT[name])
    with refused(DataError, "unknown", f"{field} of the corpus", "known are n, text."):
        read(tmp_path, wanted)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", b"version https://git-lfs.github.com/spec/v1\noid x\n", ["a.csv: ", "Git LFS pointer"]),
        ("a.csv", b"<!doctype html>\n<p>Not found\n", ["a.csv: ", "web page"]),
    ],
)
def test_the_cause_is_reported_where_no_field_is_found(
    tmp_path: Path, name: str, content: bytes, told: list[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    with refused(DataError, "unknown", *told):
        read(tmp_path)


def test_text_files_need_no_field_for_their_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("good")
    assert texts(tmp_path, fields("body")) == {"a.txt:1": "good"}
    with refused(DataError, "unknown", "mood", "fields.label"):
        read(tmp_path, fields("text", "mood"))


def test_halves_of_characters_become_whole_or_go(tmp_path: Path) -> None:
    """JSON can write what UTF-8 can't: no table and no report could hold it."""
    rows = [{"text": "a \ud800 b", "to": "c \udfff"}, {"text": "\ud83d\ude00", "to": ["\ud83d", "x"]}]
    (tmp_path / "a.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    first, second = read(tmp_path, fields("text", None, "to"))
    assert isinstance(first, Row)
    assert isinstance(second, Row)
    assert (first.text, first.target) == ("a  b", "c ")
    assert (second.text, second.target) == ("\U0001f600", "\nx")
