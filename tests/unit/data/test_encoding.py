"""Text in any encoding comes out as UTF-8; the same bytes always as the same text."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langmill.config.sections import FormatSection
from langmill.data import encoding
from langmill.data.encoding import Utf8Stream, encoding_named
from langmill.data.formats.base import build_format
from langmill.data.readers import read_rows
from langmill.data.rows import Row
from langmill.errors import ConfigError, FieldError
from tests.refused import refused
from tests.unit.data.folder_rows import COMPRESS, bad, texts
from tests.unit.data.settings import fields, file_format

pytestmark = pytest.mark.unit
GERMAN = "text,label\nGrüße aus München,pos\nSchöne Straße,neg\n"
CHINESE = "这是一个中文句子。今天天气很好,我们去公园玩。\n"


def as_utf8(data: bytes, name: str | None = None) -> bytes:
    return io.BufferedReader(Utf8Stream(io.BytesIO(data), name)).read()


def encoding_of(data: bytes) -> str:
    stream = Utf8Stream(io.BytesIO(data))
    io.BufferedReader(stream).read()
    return stream.encoding


@pytest.mark.parametrize(
    ("text", "written", "found"),
    [
        (GERMAN, "utf-8", "utf-8"),
        (GERMAN, "utf-8-sig", "utf-8"),
        (GERMAN, "cp1252", "cp1252"),
        ("Grüße", "cp1252", "cp1252"),
        ("He said “hello”… and went.\n", "cp1252", "cp1252"),
        (GERMAN, "utf-16", "utf-16"),
        (GERMAN, "utf-16-le", "utf-16-le"),
        (GERMAN, "utf-16-be", "utf-16-be"),
        (GERMAN, "utf-32", "utf-32"),
        (CHINESE * 9, "utf-16-le", "utf-16-le"),
        (CHINESE * 9, "utf-16-be", "utf-16-be"),
        (CHINESE, "gb18030", "gb18030"),
        ("Привет, как дела? Это русский текст.\n", "cp1251", "cp1251"),
        ("Привет, как дела? Это русский текст.\n", "koi8-r", "koi8_r"),
        ("これは日本語の文章です。今日は天気がいいですね。\n", "shift_jis", "cp932"),
        ("Zażółć gęślą jaźń, dzień dobry państwu\n", "cp1250", "cp1250"),
        ("plain ASCII\n", "ascii", "utf-8"),
        ("", "ascii", "utf-8"),
    ],
)
def test_what_a_text_is_encoded_in(text: str, written: str, found: str) -> None:
    data = text.encode(written)
    assert encoding_of(data) == found
    assert as_utf8(data).decode("utf-8-sig") == text


def test_utf8_with_damage_is_utf8_and_its_damage_is_kept() -> None:
    data = GERMAN.encode() + b"caf\xe9\n"
    assert encoding_of(data) == "utf-8"
    assert as_utf8(data) == data


def test_the_evidence_is_of_the_whole_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte that cp1252 has no meaning for, far behind, makes it another encoding."""
    monkeypatch.setattr(encoding, "_CHUNK", 64)
    western = "Grüße aus München\n".encode("cp1252") * 50
    assert encoding_of(western) == "cp1252"
    assert encoding_of(b"plain\n" * 100 + western + b"\x81\n") not in ("cp1252", "utf-8")
    assert as_utf8(b"plain\n" * 100 + western).decode() == "plain\n" * 100 + "Grüße aus München\n" * 50


@given(data=st.binary(max_size=300), chunk=st.integers(1, 64))
def test_any_bytes_are_survived_and_give_the_same_text_whatever_the_chunks(data: bytes, chunk: int) -> None:
    for name in ("cp1252", "utf-16-le", "cp932"):
        stream = io.BufferedReader(Utf8Stream(io.BytesIO(data), name), chunk)
        assert b"".join(iter(lambda: stream.read(chunk), b"")) == as_utf8(data, name)  # noqa: B023
    as_utf8(data)


def test_bytes_without_a_meaning_make_their_row_undecodable(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("text,n\nGrüße,1\n".encode("cp1252") + b"\x81,2\n")
    reader = build_format(FormatSection("auto", {"encoding": "windows-1252"}), "x.yaml")
    rows = list(read_rows(tmp_path, reader, fields()))
    assert [row.text if isinstance(row, Row) else row.reason for row in rows] == ["Grüße", "undecodable"]


@pytest.mark.parametrize("ending", COMPRESS)
@pytest.mark.parametrize("written", ["cp1252", "utf-16"])
def test_no_row_of_a_file_in_another_encoding_is_lost_and_it_is_said(tmp_path: Path, written: str, ending: str) -> None:
    (tmp_path / f"a.csv{ending}").write_bytes(COMPRESS[ending](GERMAN.encode(written)))
    told: dict[str, str] = {}
    rows = list(read_rows(tmp_path, file_format(), fields("text", "label"), told=told))
    assert [row.text for row in rows if isinstance(row, Row)] == ["Grüße aus München", "Schöne Straße"]
    assert list(told) == [f"a.csv{ending}"]
    assert f"Its text is read as {written}" in told[f"a.csv{ending}"]


def test_an_encoding_that_is_given_is_not_looked_for(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("Grüße".encode("cp437"))
    reader = build_format(FormatSection("auto", {"encoding": "IBM437"}), "x.yaml")
    told: dict[str, str] = {}
    rows = list(read_rows(tmp_path, reader, fields(), told=told))
    assert [row.text for row in rows if isinstance(row, Row)] == ["Grüße"]
    assert told == {}


def test_names_of_encodings() -> None:
    assert [encoding_named(name) for name in ("UTF8", "utf-8-sig", "windows-1252", "latin1")] == [
        "utf-8", "utf-8", "cp1252", "iso8859-1",
    ]  # fmt: skip
    for name in ("klingon", "rot13", "base64"):
        with refused(FieldError, "unknown", name, "cp1252"):
            encoding_named(name)
    with refused(ConfigError, "unknown", "x.yaml", "format.options.encoding"):
        build_format(FormatSection("auto", {"encoding": "klingon"}), "x.yaml")


def test_a_text_that_is_a_word_stays_one(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "null"}\n{"text": "a\u2028b"}\n', encoding="utf-8")
    assert list(texts(tmp_path).values()) == ["null", "a\u2028b"]
    assert bad(tmp_path) == []


@pytest.mark.parametrize("written", ["utf-8", "cp1252"])
def test_what_stands_before_a_damage_is_read_in_any_encoding(tmp_path: Path, written: str) -> None:
    rows = "text\n" + "".join(f"Grüße, zum {number}. Mal\n".replace(",", "") for number in range(5000))
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(rows.encode(written), mtime=0)[:-20])
    found = list(read_rows(tmp_path, file_format(), fields()))
    assert len([row for row in found if isinstance(row, Row)]) > 4000
    assert len(found) - len([row for row in found if isinstance(row, Row)]) <= 2
