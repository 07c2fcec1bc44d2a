"""Every format, plain and compressed; and every way in which a row can be bad."""

from __future__ import annotations

import bz2
import csv
import datetime
import gzip
import io
import json
import lzma
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from langmill.config.compose import compose_corpus
from langmill.config.sections import Fields
from langmill.data.formats import auto
from langmill.data.readers import first_rows, read_rows
from langmill.data.rows import BadRow, BadRowReason, Row
from langmill.errors import DataError
from tests.unit.data.settings import CONF, fields, file_format

pytestmark = pytest.mark.unit


def read(folder: Path, wanted: Fields | None = None) -> list[Row | BadRow]:
    return list(read_rows(folder, file_format(), wanted or fields()))


def bad(folder: Path, wanted: Fields | None = None) -> list[tuple[str, str]]:
    return [(row.where, row.reason.value) for row in read(folder, wanted) if isinstance(row, BadRow)]


def texts(folder: Path, wanted: Fields | None = None) -> dict[str, str]:
    return {row.where: row.text for row in read(folder, wanted) if isinstance(row, Row)}


def parquet(**columns: list[object]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


CONTENT: dict[str, bytes] = {
    "a.txt": "Tränen\nlügen nicht".encode(),
    "a.json": '[{"text": "Tränen\\nlügen nicht", "n": 1}, {"text": "zwei"}]'.encode(),
    "a.jsonl": '{"text": "Tränen\\nlügen nicht", "n": 1}\n\n{"text": "zwei"}\n'.encode(),
    "a.csv": 'n,text\n1,"Tränen\nlügen nicht"\n\n2,zwei\n'.encode(),
    "a.tsv": "n\ttext\n1\tTränen, viele\n".encode(),
    "a.parquet": parquet(text=["Tränen\nlügen nicht", "zwei"], n=[1, 2]),
}
EXPECTED = {
    "a.txt": {"a.txt:1": "Tränen\nlügen nicht"},
    "a.json": {"a.json:1": "Tränen\nlügen nicht", "a.json:2": "zwei"},
    "a.jsonl": {"a.jsonl:1": "Tränen\nlügen nicht", "a.jsonl:3": "zwei"},
    "a.csv": {"a.csv:2": "Tränen\nlügen nicht", "a.csv:5": "zwei"},
    "a.tsv": {"a.tsv:2": "Tränen, viele"},
    "a.parquet": {"a.parquet:1": "Tränen\nlügen nicht", "a.parquet:2": "zwei"},
}
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


@pytest.mark.parametrize("ending", COMPRESS)
@pytest.mark.parametrize("name", CONTENT)
def test_formats(tmp_path: Path, name: str, ending: str) -> None:
    (tmp_path / f"{name}{ending}").write_bytes(COMPRESS[ending](CONTENT[name]))
    expected = {place.replace(name, f"{name}{ending}"): text for place, text in EXPECTED[name].items()}
    assert texts(tmp_path) == expected


@pytest.mark.parametrize("name", ["a.txt", "a.json", "a.jsonl", "a.csv", "a.tsv"])
def test_a_byte_order_mark_is_no_text(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + CONTENT[name])
    assert texts(tmp_path) == EXPECTED[name]


def test_folders_are_read_in_a_stable_order_and_hidden_files_are_not(tmp_path: Path) -> None:
    for name in ("b.TXT", "a/z.txt", "a.txt", ".hidden.txt", ".git/x.txt", "notes.md", "manifest.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert [path.relative_to(tmp_path).as_posix() for path in file_format().files(tmp_path)] == [
        "a.txt",
        "a/z.txt",
        "b.TXT",
    ]
    assert list(texts(tmp_path)) == ["a.txt:1", "a/z.txt:1", "b.TXT:1"]


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


@pytest.mark.parametrize(("value", "name"), [(0, "negative"), ("1", "positive"), (1.0, "positive"), (None, None)])
def test_labels_get_the_corpus_names(tmp_path: Path, value: object, name: str | None) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "x", "label": value}))
    wanted = replace(fields("text", "label"), label_names={"0": "negative", "1": "positive"})
    assert read(tmp_path, wanted) == [Row("a.jsonl:1", "x", name)]


@pytest.mark.parametrize("value", [2, "negative", True])
def test_a_label_without_a_name_is_quarantined(tmp_path: Path, value: object) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "x", "label": value}))
    wanted = replace(fields("text", "label"), label_names={"0": "negative", "1": "positive"})
    assert bad(tmp_path, wanted) == [("a.jsonl:1", "unknown_label")]


def test_the_reviews_have_names_for_labels() -> None:
    assert compose_corpus("reviews", CONF).fields.label_names == {"0": "negative", "1": "positive"}


def test_bad_json_lines(tmp_path: Path) -> None:
    lines = [
        b'{"text": "good"}',
        b'{"text": "cut',
        b'["text"]',
        b'{"text": "\xff\xfe"}',
        b'{"other": 1}',
        b'{"text": null}',
        b'{"text": 7}',
        b'{"text": "x", "label": {"a": 1}}',
        b'{"text": "last", "label": 1}',
        b'{"text": ' + b"1" * 5000 + b"}",
    ]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    wanted = fields("text", "label")
    assert bad(tmp_path, wanted) == [
        ("a.jsonl:2", "corrupt"),
        ("a.jsonl:3", "not_an_object"),
        ("a.jsonl:4", "undecodable"),
        ("a.jsonl:5", "missing_text"),
        ("a.jsonl:6", "missing_text"),
        ("a.jsonl:7", "wrong_type"),
        ("a.jsonl:8", "wrong_type"),
        ("a.jsonl:10", "corrupt"),
    ]
    assert list(texts(tmp_path, wanted)) == ["a.jsonl:1", "a.jsonl:9"]
    shown = [row.row for row in read(tmp_path, wanted) if isinstance(row, BadRow)]
    assert shown[0] == '{"text": "cut\n'
    assert shown[2] == '{"text": "\\xff\\xfe"}\n'


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'[{"text": "a"}, 3, {"other": 1}]', [("a.json:2", "not_an_object"), ("a.json:3", "missing_text")]),
        (b'{"text": "a"}', [("a.json:1", "unexpected_shape")]),
        (b'[{"text": "a"}', [("a.json:1", "corrupt")]),
        (b'[{"text": "\xff"}]', [("a.json:1", "undecodable")]),
    ],
)
def test_bad_json(tmp_path: Path, content: bytes, expected: list[tuple[str, str]]) -> None:
    (tmp_path / "a.json").write_bytes(content)
    assert bad(tmp_path) == expected


@pytest.mark.parametrize(
    ("value", "target"),
    [(["one", "two"], "one\ntwo"), (["one"], "one"), ([], None), ("one", "one"), (None, None)],
)
def test_a_list_of_texts_is_a_target_of_lines(tmp_path: Path, value: object, target: str | None) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "x", "to": value}))
    assert read(tmp_path, fields("text", None, "to")) == [Row("a.jsonl:1", "x", None, target, {})]


def test_a_list_of_something_else_is_no_target(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x", "to": ["a", 1]}')
    assert bad(tmp_path, fields("text", None, "to")) == [("a.jsonl:1", "wrong_type")]


def test_bad_csv_rows(tmp_path: Path) -> None:
    rows = [b"text,label", b"good,1", b"short", b"a,b,c", b"caf\xe9,1", b'"x" y,1', b'5" disk,0', b"last,1"]
    (tmp_path / "a.csv").write_bytes(b"\n".join(rows))
    assert bad(tmp_path) == [
        ("a.csv:3", "ragged"),
        ("a.csv:4", "ragged"),
        ("a.csv:5", "undecodable"),
        ("a.csv:6", "corrupt"),
    ]
    assert texts(tmp_path) == {"a.csv:2": "good", "a.csv:7": '5" disk', "a.csv:8": "last"}
    assert [row.row for row in read(tmp_path) if isinstance(row, BadRow)][2] == "caf\\xe9,1\n"


@pytest.mark.parametrize("later", ["", '"quoted\nin two lines",1\n'])
def test_a_quotation_mark_that_is_never_closed_costs_its_own_line_only(tmp_path: Path, later: str) -> None:
    (tmp_path / "a.csv").write_text(f'text,label\n"never closed,1\nnext,0\n{later}last,1\n')
    assert bad(tmp_path) == [("a.csv:2", "corrupt")]
    assert [text for text in texts(tmp_path).values() if not text.startswith("quoted")] == ["next", "last"]
    assert len(texts(tmp_path)) == (3 if later else 2)


QUOTED = '"He said it was late\t1\nand he went home."\t0\n'


def test_a_quotation_mark_in_a_tsv_file_is_a_sign_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text(f"text\tlabel\n{QUOTED}")
    assert read(tmp_path, fields("text", "label")) == [
        Row("a.tsv:2", '"He said it was late', "1", None, {}),
        Row("a.tsv:3", 'and he went home."', "0", None, {}),
    ]


def test_a_tsv_file_can_be_read_as_quoted(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text('text\tlabel\n"two\nlines, ""so""\tand a tab"\t1\n')
    rows = list(read_rows(tmp_path, file_format("quoted_tsv"), fields("text", "label")))
    assert rows == [Row("a.tsv:2", 'two\nlines, "so"\tand a tab', "1", None, {})]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"text,label,text\na,1,b\n"),
        ("a.tsv", b"text\tlabel\ttext \na\t1\tb\n"),
        ("a.jsonl", b'{"text": "a", "label": 1, "text": "b"}'),
        ("a.json", b'[{"text": "a", "text": "b"}]'),
    ],
)
def test_no_column_is_lost_to_another_of_its_name(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    (tmp_path / "b.jsonl").write_text('{"text": "good"}')
    assert bad(tmp_path) == [(f"{name}:1", "repeated_name")]
    assert texts(tmp_path) == {"b.jsonl:1": "good"}
    row = read(tmp_path)[0]
    assert isinstance(row, BadRow)
    assert row.row.startswith("text twice in ")


def test_no_column_of_a_parquet_file_is_lost(tmp_path: Path) -> None:
    table = pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    pq.write_table(table, tmp_path / "a.parquet")
    assert bad(tmp_path) == [("a.parquet:1", "repeated_name")]


def test_columns_without_a_name_are_counted_out(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,,\na,b,c\n")
    wanted = fields("text", None, None, "column 2", "column 3")
    assert read(tmp_path, wanted) == [Row("a.csv:2", "a", None, None, {"column 2": "b", "column 3": "c"})]


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


def test_a_csv_record_can_be_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "_RECORD_CHARACTERS", 40)
    (tmp_path / "a.csv").write_text('text,n\n"' + "long line\n" * 9 + "good,1\n")
    assert bad(tmp_path)[0] == ("a.csv:2", "corrupt")
    assert texts(tmp_path) == {"a.csv:11": "good"}


@pytest.mark.parametrize("ending", [".gz", ".xz", ".zst", ".bz2"])
def test_a_compressed_file_cut_short_gives_what_it_has_and_says_so(tmp_path: Path, ending: str) -> None:
    import random

    noise = random.Random(1)  # hardly compressible, so that half the file holds about half the rows
    lines = [json.dumps({"text": noise.randbytes(300).hex()}) for _ in range(1000)]
    whole = COMPRESS[ending]("\n".join(lines).encode())
    (tmp_path / f"a.jsonl{ending}").write_bytes(whole[: len(whole) // 2])
    rows = read(tmp_path)
    reasons = [row.reason.value for row in rows if isinstance(row, BadRow)]
    assert reasons == ["unreadable_file"]
    assert isinstance(rows[-1], BadRow)
    if ending != ".bz2":  # its blocks are larger than this file
        assert len(rows) > 200


@pytest.mark.parametrize("name", ["a.parquet", "a.txt.gz", "a.csv.zst", "a.jsonl.xz", "a.txt.bz2"])
def test_a_file_that_is_something_else(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"this is something else" * 10)
    (tmp_path / "b.txt").write_text("good")
    assert bad(tmp_path) == [(f"{name}:1", "unreadable_file")]
    assert texts(tmp_path) == {"b.txt:1": "good"}


def test_zstandard_files_of_several_frames(tmp_path: Path) -> None:
    compress = zstandard.ZstdCompressor().compress
    (tmp_path / "a.txt.zst").write_bytes(compress(b"one ") + compress(b"") + compress(b"two"))
    assert texts(tmp_path) == {"a.txt.zst:1": "one two"}


def test_lone_surrogates_can_be_written_to_a_file(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jsonl")
    (tmp_path / name).write_text('{"text": "a", "label": "\\ud800", "m": "\\udfff"}')
    assert read(tmp_path, fields("text", "label", None, "m")) == [
        Row("caf%E9.jsonl:1", "a", "\\ud800", None, {"m": "\\udfff"})
    ]


def test_a_files_name_stays_in_its_line(tmp_path: Path) -> None:
    (tmp_path / "a\nb\u2028c ü.txt").write_text("good")
    assert list(texts(tmp_path)) == ["a%0Ab%E2%80%A8c ü.txt:1"]


def test_undecodable_text_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    assert bad(tmp_path) == [("a.txt:1", "undecodable")]


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
    with pytest.raises(DataError, match=rf"{field} of the corpus names; known are n, text\.$"):
        read(tmp_path, wanted)


@pytest.mark.parametrize(
    ("name", "content", "cause"),
    [
        ("a.csv", "text,label\na,1\n".encode("utf-16"), "a.csv: The file is encoded in UTF-16; convert it"),
        ("a.csv", b"version https://git-lfs.github.com/spec/v1\noid x\n", "a.csv: The file is a Git LFS pointer"),
        ("a.csv", b"text;label\na;1\n", "a.csv: The file's columns are separated by semicolons, not commas"),
        ("a.csv", b"<!doctype html>\n<p>Not found\n", "a.csv: The file is a web page"),
    ],
)
def test_the_cause_is_told_where_no_field_is_found(tmp_path: Path, name: str, content: bytes, cause: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=cause):
        read(tmp_path)


def test_text_files_need_no_field_for_their_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("good")
    assert texts(tmp_path, fields("body")) == {"a.txt:1": "good"}
    with pytest.raises(DataError, match=r"'mood', which fields\.label"):
        read(tmp_path, fields("text", "mood"))


def test_nothing_to_read(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("x")
    with pytest.raises(DataError, match=r"holds no file that can be read; readable are \.csv, .*\.zst"):
        read(tmp_path)


def test_bytes_read_are_told_before_decompression(tmp_path: Path) -> None:
    data = gzip.compress(b"x" * 1_000_000)
    (tmp_path / "a.txt.gz").write_bytes(data)
    told: list[int] = []
    list(read_rows(tmp_path, file_format(), fields(), told.append))
    assert sum(told) == len(data)


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


@settings(max_examples=60)
@given(
    data=st.binary(max_size=200), name=st.sampled_from(["a.csv", "a.json", "a.jsonl", "a.txt", "a.parquet", "a.csv.gz"])
)
def test_any_bytes_at_all_are_survived(tmp_path_factory: pytest.TempPathFactory, data: bytes, name: str) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / name).write_bytes(data)
    try:
        for row in read_rows(folder, file_format(), fields()):
            (row.row if isinstance(row, BadRow) else row.where).encode()
    except DataError as error:
        str(error).encode()


def test_first_rows_are_the_readable_ones(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1}\nnot json\n{"b": 2}\n{"c": 3}\n')
    assert first_rows(tmp_path / "a.jsonl", file_format(), 2) == [{"a": 1}, {"b": 2}]
