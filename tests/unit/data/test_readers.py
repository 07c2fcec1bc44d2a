"""Every format, plain and compressed, is read in full and in a stable order."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from langmill.data.readers import first_rows, read_rows
from langmill.data.rows import BadRow, Row
from langmill.errors import DataError
from tests.refused import refused
from tests.unit.data.folder_rows import COMPRESS, CONTENT, bad, read, texts
from tests.unit.data.settings import fields, file_format

pytestmark = pytest.mark.unit
EXPECTED = {
    "a.txt": {"a.txt:1": "Tränen\nlügen nicht"},
    "a.json": {"a.json:1": "Tränen\nlügen nicht", "a.json:2": "zwei"},
    "a.jsonl": {"a.jsonl:1": "Tränen\nlügen nicht", "a.jsonl:3": "zwei"},
    "a.csv": {"a.csv:2": "Tränen\nlügen nicht", "a.csv:5": "zwei"},
    "a.tsv": {"a.tsv:2": "Tränen, viele"},
    "a.parquet": {"a.parquet:1": "Tränen\nlügen nicht", "a.parquet:2": "zwei"},
}


@pytest.mark.parametrize("ending", COMPRESS)
@pytest.mark.parametrize("name", CONTENT)
def test_formats(tmp_path: Path, name: str, ending: str) -> None:
    (tmp_path / f"{name}{ending}").write_bytes(COMPRESS[ending](CONTENT[name]))
    expected = {where.replace(name, f"{name}{ending}"): text for where, text in EXPECTED[name].items()}
    assert texts(tmp_path) == expected


@pytest.mark.parametrize("name", ["a.txt", "a.json", "a.jsonl", "a.csv", "a.tsv"])
def test_a_byte_order_mark_is_no_text(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + CONTENT[name])
    assert texts(tmp_path) == EXPECTED[name]


def test_folders_are_read_in_a_stable_order_and_hidden_files_are_not(tmp_path: Path) -> None:
    for name in ("b.TXT", "a/z.txt", "a.txt", ".hidden.txt", ".git/x.txt", "notes.md", "manifest.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert list(texts(tmp_path)) == ["a.txt:1", "a/z.txt:1", "b.TXT:1", "notes.md:1"]


QUOTED = '"He said it was late\t1\nand he went home."\t0\n'


def test_a_quotation_mark_in_a_tsv_file_is_an_ordinary_character(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text(f"text\tlabel\n{QUOTED}")
    assert read(tmp_path, fields("text", "label")) == [
        Row("a.tsv:2", '"He said it was late', "1", None, {}),
        Row("a.tsv:3", 'and he went home."', "0", None, {}),
    ]


def test_a_tsv_file_can_be_read_as_quoted(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text('text\tlabel\n"two\nlines, ""so""\tand a tab"\t1\n')
    rows = list(read_rows(tmp_path, file_format("quoted_tsv"), fields("text", "label")))
    assert rows == [Row("a.tsv:2", 'two\nlines, "so"\tand a tab', "1", None, {})]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl"])
def test_lines_can_end_as_on_old_apple_computers(tmp_path: Path, name: str) -> None:
    content = {"a.csv": "text,n\ra,1\rb,2\r", "a.tsv": "text\tn\ra\t1\rb\t2\r"}
    lines = '{"text": "a"}\r{"text": "b"}\r' + '{"text": "c"}\r' * 10_000 + '{"text": "d"}'
    (tmp_path / name).write_text(content.get(name, lines), newline="")
    found = list(texts(tmp_path).items())
    first = 1 if name == "a.jsonl" else 2
    assert found[:2] == [(f"{name}:{first}", "a"), (f"{name}:{first + 1}", "b")]
    assert bad(tmp_path) == []
    assert len(found) == (10_003 if name == "a.jsonl" else 2)
    assert found[-1][1] == ("d" if name == "a.jsonl" else "b")


def test_zstandard_files_of_several_frames(tmp_path: Path) -> None:
    compress = zstandard.ZstdCompressor().compress
    (tmp_path / "a.txt.zst").write_bytes(compress(b"one ") + compress(b"") + compress(b"two"))
    assert texts(tmp_path) == {"a.txt.zst:1": "one two"}


def test_a_files_name_stays_in_its_line(tmp_path: Path) -> None:
    (tmp_path / "a\nb\u2028c ü.txt").write_text("good")
    assert list(texts(tmp_path)) == ["a%0Ab%E2%80%A8c ü.txt:1"]


def test_a_file_without_the_field_of_the_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text\none\n")
    (tmp_path / "b.csv").write_text("body,n\none,1\ntwo,2\n")
    (tmp_path / "c.jsonl").write_text('{"text": "one"}\n{"note": "two"}\n{"text": null}\n')
    wrong: dict[str, str] = {}
    rows = list(read_rows(tmp_path, file_format(), fields(), wrong=wrong))
    assert sum(isinstance(row, BadRow) for row in rows) == 4
    assert list(wrong) == ["b.csv", "c.jsonl"]
    assert wrong["b.csv"].startswith("Its rows have no field text,") and "but body, n; fields.files" in wrong["b.csv"]
    assert wrong["c.jsonl"].startswith("1 of its rows has no field text,")


def test_nothing_to_read(tmp_path: Path) -> None:
    (tmp_path / "notes.odt").write_text("x")
    with refused(DataError, "missing", ".csv", ".zst"):
        read(tmp_path)


def test_bytes_read_are_reported_before_decompression(tmp_path: Path) -> None:
    data = gzip.compress(b"x" * 1_000_000)
    (tmp_path / "a.txt.gz").write_bytes(data)
    reported: list[int] = []
    list(read_rows(tmp_path, file_format(), fields(), reported.append))
    assert sum(reported) == len(data)


CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@settings(max_examples=60)
@given(rows=st.lists(st.tuples(CELL.filter(bool), CELL), max_size=8), dialect=st.sampled_from(["excel", "unix"]))
def test_csv_comes_back_as_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], dialect: str
) -> None:
    folder = tmp_path_factory.mktemp("csv")
    with (folder / "a.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, dialect).writerows([("text", "n"), *rows])
    assert list(texts(folder).values()) == [text for text, _ in rows]
    assert bad(folder) == []


def test_first_rows_are_the_readable_ones(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1}\nnot json\n{"b": 2}\n{"c": 3}\n')
    assert first_rows(tmp_path / "a.jsonl", file_format(), 2) == [{"a": 1}, {"b": 2}]
