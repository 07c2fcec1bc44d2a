"""What a file is said to be, and that it is read so."""

from __future__ import annotations

import gzip
import json
from pathlib import Path, PurePosixPath

import pytest

from langmill.config.sections import FormatSection
from langmill.data import detection
from langmill.data.detection import detect, pairs_of_files
from langmill.data.formats.base import build_format
from langmill.data.readers import first_rows
from tests.unit.data.folder_rows import CONTENT

pytestmark = pytest.mark.unit
TABLE = "text;label\nGrüße aus München;1\nSchöne Straße, lang;0\n"


def look(folder: Path, name: str, content: bytes) -> detection.Detected:
    (folder / name).write_bytes(content)
    found = detect(folder / name, PurePosixPath(name))
    if found.problem is None and found.format_name == "auto":
        reader = build_format(FormatSection(found.format_name, dict(found.options)), "x.yaml")
        assert first_rows(folder / name, reader, 5) == found.rows
    return found


@pytest.mark.parametrize("written", ["utf-8", "cp1252", "utf-16"])
def test_a_table(tmp_path: Path, written: str) -> None:
    found = look(tmp_path, "a.csv.gz", gzip.compress(TABLE.encode(written)))
    assert (found.format_name, found.encoding, found.delimiter, found.has_header) == ("auto", written, ";", True)
    assert found.options == {"delimiter": ";", **({} if written == "utf-8" else {"encoding": written})}
    assert found.rows[0] == {"text": "Grüße aus München", "label": "1"}
    assert (found.num_rows, found.problem) == (2, None)


def test_a_table_without_a_header(tmp_path: Path) -> None:
    lines = "A film that I liked a lot,pos\nBad all along,neg\nGood,pos\n"
    found = look(tmp_path, "a.csv", lines.encode())
    assert (found.has_header, found.options, found.num_rows) == (False, {"header": False}, 3)
    assert found.rows[1] == {"column 1": "Bad all along", "column 2": "neg"}


@pytest.mark.parametrize("name", CONTENT)
def test_every_kind_of_file(tmp_path: Path, name: str) -> None:
    found = look(tmp_path, name, CONTENT[name])
    assert (found.format_name, found.options, found.problem) == ("auto", {}, None)
    assert found.encoding == (None if name == "a.parquet" else "utf-8")
    assert (found.num_rows, len(found.rows)) == ((1, 1) if name in ("a.txt", "a.tsv") else (2, 2))


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"messages": [{"role": "user", "content": "a"}]}, "messages"),
        ({"conversations": [{"from": "human", "value": "a"}]}, "sharegpt"),
        ({"instruction": "a", "output": "b"}, "alpaca"),
        ({"text": "a"}, "auto"),
    ],
)
def test_rows_of_a_known_shape(tmp_path: Path, row: dict[str, object], name: str) -> None:
    assert look(tmp_path, "a.jsonl", json.dumps(row).encode()).format_name == name


def test_files_that_a_format_is_for(tmp_path: Path) -> None:
    variants = [f'<tuv xml:lang="{language}"><seg>{text}</seg></tuv>' for language, text in (("en", "a"), ("de", "b"))]
    memory = f'<tmx><header srclang="en"/><body><tu>{"".join(variants)}</tu></body></tmx>'
    found = look(tmp_path, "a.tmx", memory.encode())
    assert (found.format_name, found.num_rows, found.rows[0]["target"]) == ("tmx", 1, "b")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", b'"text" , "label"\n"a" , 1\n', 'write "text","label"'),
        ("a.csv", b"text,text\na,b\n", "more than once"),
        ("a.csv", b"<!doctype html>", "web page"),
        ("a.jsonl", b"{'text': 1}\n", "Python's notation"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 99, mtime=0)[:12], "cut short"),
        ("a.tmx", b"<tmx", "damaged or cut short (XML:"),
        ("a.zip", b"PK\x03\x04 and no more", "damaged or cut short (BadZipFile"),
        ("a.xyz", b"text", "No format"),
        ("a.xlsx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Microsoft Office"),
    ],
)
def test_what_can_not_be_read(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    assert told in str(look(tmp_path, name, content).problem)


def test_a_large_file_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detection, "_COUNTED", 1000)
    found = look(tmp_path, "a.jsonl", b'{"text": "a"}\n' * 1000)
    assert (found.num_rows, len(found.rows)) == (None, 5)
    (tmp_path / "a.txt").write_bytes(b"word " * 10**5)
    found = detect(tmp_path / "a.txt", PurePosixPath("a.txt"))
    assert len(str(found.rows[0]["text"])) == 2**16


def test_pairs_of_files() -> None:
    names = ["a.en", "a.de.gz", "b.en", "b.de", "c.en", "c.fr", "d.md", "e.txt"]
    assert pairs_of_files(map(PurePosixPath, names)) == ("de", "en")
    assert pairs_of_files(map(PurePosixPath, ["a.csv", "b.en", "c.de"])) is None
    assert pairs_of_files(map(PurePosixPath, ["a.de-en.de", "a.de-en.en", "a.de-en.ids"])) == ("de", "en")  # OPUS
    assert pairs_of_files(map(PurePosixPath, ["a.de", "a.en", "a.fr"])) is None
