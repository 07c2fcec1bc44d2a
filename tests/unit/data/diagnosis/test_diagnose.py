"""What is wrong with a file is named, with its remedy; a file that is right gives nothing."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from langmill.data.diagnosis.diagnose import diagnose

pytestmark = pytest.mark.unit

ROWS = '{"text": "Tränen lügen nicht", "label": 1}\n{"text": "zwei", "label": 0}\n'
TABLE = "text,label\nTränen lügen nicht,1\nzwei,0\n"


def compressed(data: bytes) -> bytes:
    """Without the time: test workers name the tests by these bytes, and must find the same ones."""
    return gzip.compress(data, mtime=0)


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), "x")
    return buffer.getvalue()


def parquet() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"text": ["a", "b"]}), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", ROWS.encode()),
        ("a.jsonl", b"\xef\xbb\xbf" + ROWS.encode()),
        ("a.jsonl", ROWS.replace("\n", "\r").encode()),
        ("a.json", f"[{ROWS.strip().replace(chr(10), ',')}]".encode()),
        ("a.csv", TABLE.encode()),
        ("a.csv", b'text,label\n"two\nlines, and a comma",1\n'),
        ("a.tsv", b'text\tlabel\n"He said\t1\nend."\t0\n'),
        ("a.txt", b"Just a text; in one, or two columns.\n"),
        ("a.txt", b"<!doctype html>\n<p>A page is a text too.\n"),
        ("a.csv", b"ORC,label\nGimli met one,1\n"),
        ("a.csv", TABLE.encode("latin-1")),
        ("a.jsonl", ("{}\n" * 99 + '{"text": "ä"}').encode("latin-1")),
        ("a.csv", TABLE.encode("utf-16")),
        ("a.csv", TABLE.encode("utf-16-le")),
        ("a.csv", TABLE.encode("utf-16-be")),
        ("a.csv", TABLE.encode("utf-32")),
        ("a.csv", TABLE.encode("utf-32-be")),
        ("a.csv", "ж, ш,ю\nд, л,ф\n".encode("utf-16-le")),
        ("a.csv", b"text;label\na;1\n"),
        ("a.csv", b"text\tlabel\na\t1\n"),
        ("a.tsv", b"text,label\na,1\n"),
        ("a.docx", zipped("word/document.xml")),
        ("a.pdf", b"%PDF-1.7 ..."),
        ("a.zip", zipped("a.csv")),
        ("a.html", b"<!doctype html>\n"),
        ("a.eml", b"Subject: hi\n\nthere\n"),
        ("a.parquet", parquet()),
        ("a.jsonl.gz", compressed(ROWS.encode())),
        ("a.jsonl.bz2", bz2.compress(ROWS.encode())),
        ("a.csv.xz", lzma.compress(TABLE.encode())),
        ("a.csv.zst", zstandard.ZstdCompressor().compress(TABLE.encode())),
    ],
)
def test_a_file_that_is_right(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert diagnose(tmp_path / name) is None


@pytest.mark.parametrize(
    ("name", "content", "cause", "remedy"),
    [
        ("a.csv", b"", "is empty", "get it again"),
        ("a.jsonl", b" \n\n", "white space only", "get it again"),
        ("a.jsonl.gz", compressed(b""), "is empty once it is decompressed", "get it again"),
        ("a.csv", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "LFS pointer", "git lfs pull"),
        ("a.csv", TABLE.encode() + b"caf\xe9,1\n", "line 4 has the byte 0xe9", "format.options.encoding"),
        ("a.csv", b"text,label\nn\x00ul,1\n", "NUL bytes, the first in line 2", "tr -d"),
        ("a.txt", bytes(range(256)) * 4, "binary", "name the file"),
        ("a.csv", b"\n<!DOCTYPE html>\n<html>404</html>", "web page", "download the data itself"),
        ("a.csv", b'<?xml version="1.0"?><a/>', "is XML", "convert it"),
        ("a.csv", compressed(TABLE.encode()), "is compressed", "rename it to a.csv.gz"),
        ("a.csv.gz", bz2.compress(TABLE.encode()), "is compressed", "rename it to a.csv.bz2"),
        ("a.csv.gz", compressed(compressed(TABLE.encode())), "compressed twice over", "unpack it once"),
        ("a.csv.gz", compressed(parquet()), "is a Parquet file", "rename it to a.parquet.gz"),
        ("a.csv.gz", compressed(b"%PDF-1.7"), "a PDF", "rename it"),
        ("a.csv.gz", b"version https://git-lfs.github.com/spec/v1\n", "LFS pointer", "git lfs pull"),
        ("a.csv.gz", TABLE.encode(), "not compressed as its name says", "take .gz off its name"),
        ("a.csv.gz", compressed(TABLE.encode() * 99)[:60], "damaged or cut short", "get it again"),
        ("a.csv.zst", zstandard.ZstdCompressor().compress(TABLE.encode() * 99)[:30], "cut short", "get it again"),
        ("a.csv", zipped("a.csv"), "a zip archive", "ends in .zip"),
        ("a.csv", zipped("a.csv")[:30], "a damaged zip archive", "get it again"),
        ("a.xlsx", zipped("[Content_Types].xml", "xl/workbook.xml"), "an Excel workbook", "CSV in UTF-8"),
        ("a.txt", zipped("word/document.xml"), "a Word document", "ends in .docx"),
        ("a.txt", b"%PDF-1.7 ...", "a PDF", "ends in .pdf"),
        ("a.csv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1rest", "old Microsoft Office", "save it as CSV"),
        ("a.csv", parquet(), "is a Parquet file", "rename it to a.parquet"),
        ("a.parquet", parquet()[:-10], "cut short", "get it again"),
        ("a.parquet", TABLE.encode(), "no Parquet file", "rename it"),
        ("a.jsonl", b'[{"text": "a"},\n {"text": "b"}]\n', "one JSON array", "rename it to .json"),
        ("a.jsonl", b'[\n{"text": "a"}\n]', "one JSON array", "rename it to .json"),
        ("a.jsonl", b'{\n "text": "a"\n}\n', "on several lines", "an object a line"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "b",}\n{}\n', "Line 2 has a comma after the last item", "take it out"),
        ("a.jsonl", b'{"text": "a"},\n{"text": "b"}\n', "Line 1 has a comma after the last item", "take it out"),
        ("a.jsonl", b"{'text': 'a'}\n", "Python's notation", "json.dumps"),
        ("a.jsonl", b'{"text": "a", "label": None}\n', "Python's notation", "json.dumps"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "b', "Line 2 is cut short", "get the file again"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "b",', "Line 2 is cut short", "get the file again"),
        ("a.jsonl", b'{"text": "a"}\ntext\n{}\n', "Line 2 is not JSON", "mend or remove"),
        ("a.jsonl", b'{"text": "a", "text": "b"}\n', "Line 1 has the key text twice", "rename or remove one"),
        ("a.jsonl", b'{"text": "a"}{"text": "b"}\n', "Line 1 has several objects", "on a line of its own"),
        ("a.jsonl", b'{"text": "a"}\n[1]\n', "Line 2 is an array and not an object", "write {"),
        ("a.jsonl", b'{"text": "a"}\r{"text"}\r', "Line 2 is not JSON", "mend or remove"),
        ("a.json", b'[{"text": "a", "text": "b"}]', "The file has the key text twice", "rename or remove one"),
        ("a.json", b"[" + b"1" * 5000 + b"]", "Row 1 is a number and not an object", "write {"),
        ("a.json", b'{"text": "a"}\n{"text": "b"}\n', "JSON lines", "rename it to .jsonl"),
        ("a.json", b'[{"text": "a"},]', "Line 1 has a comma after", "take it out"),
        ("a.json", b'[{"text": "a"},\n{"text": "b"', "Line 2 is cut short", "get the file again"),
        ("a.json", b'{"data": []}', "one object and not an array of objects", "write that list alone"),
        ("a.json", b'[{"text": "a"}, "b"]', "Row 2 is a text and not an object", "write {"),
        ("a.csv", b"text,text,label\na,b,1\n", "names the column text more than once", "rename"),
        ("a.csv", b"text,label\n", "a header and no rows", "must name the columns"),
        ("a.csv", b'text,label\na,1\n"b,2\nc,3\n', "Line 3 has a quotation mark that is never closed", "close it"),
        ("a.csv", b"text\na, b\n", "1 name in its header and 2 cells", "into quotation marks"),
        ("a.csv", b"text\na\n", "one column only, text", "first line names the columns"),
    ],
)  # fmt: skip
def test_the_cause_and_the_remedy(tmp_path: Path, name: str, content: bytes, cause: str, remedy: str) -> None:
    (tmp_path / name).write_bytes(content)
    said = diagnose(tmp_path / name)
    assert said is not None
    assert cause in said
    assert remedy in said.partition(cause)[2]
    assert said.endswith(".")
    assert "\n" not in said


@pytest.mark.parametrize(
    ("name", "content", "cause"),
    [
        ("a.csv", TABLE.encode("latin-1"), None),
        ("a.jsonl", b'{"text": "a",}\n', None),
        ("a.csv", b"text\na\n", None),
        ("a.parquet", parquet()[:-10], None),
        ("a.csv", b"<!doctype html>\n", "a web page"),
        ("a.jsonl", b'[{"text": "a"}]', "one JSON array"),
        ("a.csv", parquet(), "a Parquet file"),
    ],
)
def test_what_a_file_is_is_told_without_its_rows(tmp_path: Path, name: str, content: bytes, cause: str | None) -> None:
    (tmp_path / name).write_bytes(content)
    said = diagnose(tmp_path / name, rows=False)
    assert (said is None) if cause is None else (said is not None and cause in said)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert diagnose(tmp_path / "a.csv") == (
        "The file can't be opened (No such file or directory); check its path, owner and mode."
    )


@given(data=st.binary(max_size=100), name=st.sampled_from(["a.csv", "a.tsv", "a.json", "a.jsonl", "a.txt", "a.csv.gz"]))
def test_any_bytes_at_all_are_survived(tmp_path_factory: pytest.TempPathFactory, data: bytes, name: str) -> None:
    path = tmp_path_factory.mktemp("any") / name
    path.write_bytes(data)
    said = diagnose(path)
    assert said is None or (said.endswith(".") and "\n" not in said)


def test_the_rows_of_a_large_json_file_are_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.json").write_text('[{"text": "a"}, 3]')
    assert diagnose(tmp_path / "a.json") is not None
    monkeypatch.setattr("langmill.data.diagnosis.diagnose._WHOLE", 10)
    assert diagnose(tmp_path / "a.json") is None
