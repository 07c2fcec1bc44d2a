"""Web pages, PDF and Word documents and crawls: their text, and a sentence where there is none or no library for it."""

from __future__ import annotations

import importlib
import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

from langmill.data.formats import docx as docx_format
from langmill.data.readers import read_rows
from langmill.data.rows import BadRow, Row
from langmill.data.sources.folder import look_through
from langmill.errors import DataError
from tests.refused import refused
from tests.unit.data.formats.reading import bad, good, read
from tests.unit.data.settings import fields, file_format

pytestmark = pytest.mark.unit
STORY = "The old mill stood by the river, and its wheel turned day and night for two hundred years. "
PAGE = f"""<!doctype html><html lang="en"><head><meta charset="{{charset}}"><title>The mill</title></head><body>
<nav><a href="/">Home</a> <a href="/about">About us and our partners</a></nav>
<article><h1>The mill</h1><p>{STORY * 3}</p><p>Früher mahlte sie Korn. {STORY * 2}</p></article>
<footer>All rights reserved.</footer></body></html>"""


def library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-1"])
def test_a_web_page_is_its_main_text(charset: str) -> None:
    library("trafilatura")
    [(place, values)] = good(read("html", PAGE.format(charset=charset).encode(charset), "a.html"))
    assert place == 1
    assert values["title"] == "The mill"
    assert "Früher mahlte sie Korn. The old mill" in values["text"]
    assert "partners" not in values["text"]
    assert "rights reserved" not in values["text"]


@pytest.mark.parametrize("content", [b"", b" ", b"<html><body><form></form></body></html>", b"\0\1\2", b"<" * 1000])
def test_a_page_without_text_is_quarantined(content: bytes) -> None:
    library("trafilatura")
    assert [reason for _, reason in bad(read("html", content, "a.html"))] in (["missing_text"], ["unreadable_file"])


def pdf(*pages: str) -> bytes:
    """A PDF document as small as one can be, with a line of text a page."""
    kids = " ".join(f"{3 + 2 * number} 0 R" for number in range(len(pages)))
    font = "<< /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>"
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>"]
    for number, text in enumerate(pages):
        stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET" if text else ""
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources {font} /Contents {4 + 2 * number} 0 R >>"
        )
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    out, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        places.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode()
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    head = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
    return out + f"{head}trailer << /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(out)}\n%%EOF".encode()


def test_a_pdf_document_is_a_row_or_its_pages_are() -> None:
    library("pypdf")
    data = pdf("The first page", "", "The last page")
    [(place, values)] = good(read("pdf", data, "a.pdf"))
    assert (place, values["text"], values["pages"]) == (1, "The first page\n\nThe last page", 3)
    rows = read("pdf", data, "a.pdf", pages=True)
    assert [(place, values["text"]) for place, values in good(rows)] == [(1, "The first page"), (3, "The last page")]
    assert bad(rows) == [(2, "missing_text")]


@pytest.mark.parametrize("content", [b"", b"%PDF-1.4\nnothing", b"\0" * 100, pdf("x")[:100]])
def test_a_damaged_pdf_document(content: bytes) -> None:
    library("pypdf")
    rows = read("pdf", content, "a.pdf")
    assert good(rows) == []
    assert bad(rows) == [(1, "unreadable_file")]


def word(*paragraphs: str) -> bytes:
    document = library("docx").Document()
    document.core_properties.title = "Mills"
    for text in paragraphs:
        document.add_paragraph(text)
    table = document.add_table(1, 2)
    for cell, text in zip(table.rows[0].cells, ("left", "right"), strict=True):
        cell.text = text
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def test_a_word_document_is_its_text_in_order() -> None:
    [(place, values)] = good(read("docx", word("Grüße", "", "Second"), "a.docx"))
    assert (place, values["text"], values["title"]) == (1, "Grüße\n\nSecond\n\nleft\tright", "Mills")


def test_a_damaged_word_document_or_one_that_unpacks_to_very_much(monkeypatch: pytest.MonkeyPatch) -> None:
    data = word("x")
    for content in (b"", data[:500], b"PK\x03\x04" + b"\0" * 50):
        assert bad(read("docx", content, "a.docx")) == [(1, "unreadable_file")]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", b"<a/>" * 10**5)
    monkeypatch.setattr(docx_format, "_MOST_BYTES", 10**5)
    assert bad(read("docx", buffer.getvalue(), "a.docx")) == [(1, "too_large")]


def warc(*records: tuple[str, str, bytes, str]) -> bytes:
    writing, headers = library("warcio.warcwriter"), library("warcio.statusandheaders")
    buffer = io.BytesIO()
    writer = writing.WARCWriter(buffer, gzip=False)
    for url, kind, content, status in records:
        http = headers.StatusAndHeaders(status, [("Content-Type", kind)], protocol="HTTP/1.1")
        writer.write_record(
            writer.create_warc_record(
                url, "response", payload=io.BytesIO(content), http_headers=http,
                warc_headers_dict={"WARC-Date": "2026-01-02T03:04:05Z"},
            )
        )  # fmt: skip
        writer.write_record(writer.create_warc_record(url, "request", payload=io.BytesIO(b"GET")))
    return buffer.getvalue()


def test_the_pages_of_a_crawl_and_what_else_is_in_it() -> None:
    library("trafilatura")
    page = PAGE.format(charset="utf-8").encode()
    data = warc(
        ("https://example.org/mill", "text/html; charset=utf-8", page, "200 OK"),
        ("https://example.org/a.png", "image/png", b"x" * 50, "200 OK"),
        ("https://example.org/gone", "text/html", page, "404 Not Found"),
        ("https://example.org/b.png", "image/png", b"x" * 30, "200 OK"),
    )
    rows = read("warc", data, "a.warc")
    [(place, values)] = good(rows)
    assert (place, values["url"], values["crawled"]) == (1, "https://example.org/mill", "2026-01-02T03:04:05Z")
    assert "The old mill" in values["text"]
    assert bad(rows) == [("8+ image/png", "unsupported"), ("8+ status 404", "unsupported")]
    assert [row.num_bytes for _, row in rows[1:]] == [80, len(page)]  # type: ignore[union-attr]
    assert bad(read("warc", b"no crawl at all\n" * 10, "a.warc"))[-1][1] == "unreadable_file"


def test_a_library_that_is_missing_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    (tmp_path / "a.pdf").write_bytes(pdf("x"))
    monkeypatch.setattr("langmill.data.formats.extras.importlib.import_module", missing)
    with refused(DataError, "not_importable", "PDF documents", 'pip install "langmill[documents]"'):
        list(read_rows(tmp_path, file_format(), fields()))


def test_a_folder_of_many_kinds_goes_through_auto(tmp_path: Path) -> None:
    library("pypdf")
    files = {
        "a.csv": b"text,label\ncsv,1\n",
        "b.ndjson": b'{"text": "ndjson"}\n',
        "c.pdf": pdf("pdf"),
        "d.docx": word("docx"),
        "e.txt": b"txt",
        "f.eml": b"Subject: eml\n\nbody\n",
        "g.zip": zip_of("h.jsonl", b'{"text": "zipped"}\n'),
        "i.xlsx": b"not read",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    rows = list(read_rows(tmp_path, file_format(), fields()))
    assert [row for row in rows if isinstance(row, BadRow)] == []
    assert [row.text.split("\n")[0] for row in rows if isinstance(row, Row)] == [
        "csv", "ndjson", "pdf", "docx", "txt", "eml", "zipped",
    ]  # fmt: skip
    assert look_through(tmp_path, file_format()).left_out == {".xlsx": 1}


def zip_of(name: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, data)
    return buffer.getvalue()
