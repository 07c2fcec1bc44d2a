"""Every way in which a row or a whole file can be bad: it is reported, and the others are read."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langmill.data.formats import tables
from langmill.data.readers import read_rows
from langmill.data.rows import BadRow, Row
from langmill.errors import Code, DataError
from tests.refused import refused
from tests.unit.data.folder_rows import COMPRESS, bad, read, texts
from tests.unit.data.settings import fields, file_format

pytestmark = pytest.mark.unit


def test_bad_json_lines(tmp_path: Path) -> None:
    lines = [
        b'{"text": "g\xc3\xb6\xc3\xb6d"}',  # so that the file is in UTF-8, and line 4 is damaged
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
        ("a.jsonl:10", "wrong_type"),
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
        (b'[{"text": "a"}', [("a.json:2", "corrupt")]),
        (b'[{"text": "a"}, {"text": "b"', [("a.json:2", "corrupt")]),
        (b'[{"text": "a"},]', [("a.json:2", "corrupt")]),
        (b'[{"text": "a"}] more', [("a.json:2", "corrupt")]),
        (b'[{"text": "\xff\xc3\xa4"}, {"text": "b"}]', [("a.json:1", "undecodable")]),
        (b"text", [("a.json:1", "corrupt")]),
        (b"[]", []),
    ],
)
def test_bad_json(tmp_path: Path, content: bytes, expected: list[tuple[str, str]]) -> None:
    (tmp_path / "a.json").write_bytes(content)
    assert bad(tmp_path) == expected


def test_bad_csv_rows(tmp_path: Path) -> None:
    rows = [
        b"text,label",
        b"g\xc3\xb6\xc3\xb6d,1",
        b"short",
        b"a,b,c",
        b"caf\xe9,1",
        b'"x" y,1',
        b'5" disk,0',
        b"last,1",
    ]
    (tmp_path / "a.csv").write_bytes(b"\n".join(rows))
    assert bad(tmp_path) == [
        ("a.csv:3", "ragged"),
        ("a.csv:4", "ragged"),
        ("a.csv:5", "undecodable"),
        ("a.csv:6", "corrupt"),
    ]
    assert texts(tmp_path) == {"a.csv:2": "gööd", "a.csv:7": '5" disk', "a.csv:8": "last"}
    assert [row.row for row in read(tmp_path) if isinstance(row, BadRow)][2] == "caf\\xe9,1\n"


@pytest.mark.parametrize("later", ["", '"quoted\nin two lines",1\n'])
def test_a_quotation_mark_that_is_never_closed_costs_its_own_line_only(tmp_path: Path, later: str) -> None:
    (tmp_path / "a.csv").write_text(f'text,label\n"never closed,1\nnext,0\n{later}last,1\n')
    assert bad(tmp_path) == [("a.csv:2", "corrupt")]
    assert [text for text in texts(tmp_path).values() if not text.startswith("quoted")] == ["next", "last"]
    assert len(texts(tmp_path)) == (3 if later else 2)


@pytest.mark.parametrize(
    ("name", "content"),
    [
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


def table_with_a_name_twice() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"]), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "code", "told"),
    [
        ("a.csv", b"text,label,text\na,1,b\n", "duplicate", "names the column text twice"),
        ("a.tsv", b"text\tlabel\ttext \na\t1\tb\n", "duplicate", "names the column text twice"),
        ("a.parquet", table_with_a_name_twice(), "duplicate", "names the column text twice"),
        ("a.csv", b'"text" , "label"\n' + b'"good" , 1\n' * 1000, "unreadable", 'write "text","label"'),
        ("a.csv", b'"text", "label"\n' + b'"good", 1\n' * 1000, "unreadable", 'write "text","label"'),
        ("a.csv", b'"text" ; "label"\n' + b'"good" ; 1\n' * 1000, "unreadable", 'write "text","label"'),
        ("a.csv", b'"text,label\na,1\n', "unreadable", "quotation mark that does not fit"),
    ],
)
def test_a_header_that_is_unfit_refuses_the_corpus_and_counts_the_file(
    tmp_path: Path, name: str, content: bytes, code: Code, told: str
) -> None:
    (tmp_path / name).write_bytes(content)
    (tmp_path / "b.jsonl").write_text('{"text": "good"}')
    rows: list[Row | BadRow] = []
    with refused(DataError, code, str(tmp_path / name), told):
        rows.extend(iter_into(rows, read_rows(tmp_path, file_format(), fields())))
    [row] = rows
    assert isinstance(row, BadRow)
    assert (row.where, row.num_bytes) == (f"{name}:1", len(content))


def iter_into(found: list[Row | BadRow], rows: Iterable[Row | BadRow]) -> list[Row | BadRow]:
    """Keep rows that came before an error."""
    for row in rows:
        found.append(row)
    return []


def test_a_csv_record_can_be_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_RECORD_CHARACTERS", 40)
    (tmp_path / "a.csv").write_text('text,n\n"' + "long line\n" * 9 + "good,1\n")
    assert bad(tmp_path)[0] == ("a.csv:2", "corrupt")
    assert texts(tmp_path) == {"a.csv:11": "good"}


@pytest.mark.parametrize("ending", [".gz", ".xz", ".zst", ".bz2"])
def test_a_truncated_compressed_file_gives_its_whole_rows_and_is_reported(tmp_path: Path, ending: str) -> None:
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


def test_undecodable_text_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xc3\xa4\xc3\xb6 caf\xe9")
    assert bad(tmp_path) == [("a.txt:1", "undecodable")]


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
