"""Crawls in WARC (ISO 28500), as Common Crawl keeps them: the main text of each page; plain texts of WET files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO, Any

from langmill.data.formats.base import FORMATS, Chunks, Format, rest_of_damaged
from langmill.data.formats.extras import library
from langmill.data.formats.html import HtmlOptions, page
from langmill.data.rows import BadRowReason, Raw, Unreadable, Values, escaped
from langmill.errors import LangmillError

_CHUNK = 2**20
_MOST_BYTES = 2**25  # of one record, which is held in memory
_PAGE, _TEXT = "page", "text"  # what records can be that are read
_TOO_LARGE = f"more than {_MOST_BYTES / 1e6:,.0f} MB"
_PAGES = ("text/html", "application/xhtml+xml")


@FORMATS.register("warc")
class Warc(Format):
    """One row a page, with the fields of the format `html` and `crawled` (the record's date).

    Responses with status 200 that are web pages, and the plain texts of conversion records (WET). Other responses are
    counted in one quarantined row for each content type or status; what the crawler says of itself and of its requests
    is no row.
    """

    options_class = HtmlOptions
    file_endings = frozenset({".warc", ".wet"})
    auto_endings = file_endings
    makes_documents = True
    diagnosable = False
    options: HtmlOptions

    def read(self, file: IO[bytes], path: PurePosixPath) -> Iterator[Raw]:
        """The pages of one crawl, placed by record."""
        del path
        reader = library("warcio.archiveiterator", "Crawls")
        chunks = Chunks(file)
        records = reader.ArchiveIterator(chunks)
        left: Counter[str] = Counter()
        sizes: Counter[str] = Counter()
        number = 0
        try:
            for number, record in enumerate(records, start=1):
                wanted = record.rec_type in ("response", "conversion")
                data = record.content_stream().read(_MOST_BYTES + 1) if wanted else b""
                while record.raw_stream.read(_CHUNK):
                    pass
                if record.raw_stream.limit or record.rec_headers.get_header("Content-Length") is None:
                    raise EOFError(f"record {number:,} is cut short")  # which warcio takes for a whole one
                if not wanted:
                    continue
                kind = _kind(record) if len(data) <= _MOST_BYTES else _TOO_LARGE
                if kind in (_PAGE, _TEXT):
                    yield number, self._values(record, data, kind)
                else:
                    left[kind] += 1
                    sizes[kind] += len(data)
            if records.fh.tell() > records.offset:
                raise EOFError("a record's headers are cut short")
        except LangmillError:
            raise
        except Exception as error:  # warcio raises whatever a damaged file makes it stumble over
            if chunks.damage is None:
                lost = records.fh.tell() - records.offset + sum(map(len, iter(lambda: chunks.read(_CHUNK), b"")))
                yield f"{number}+", rest_of_damaged(error, lost)
        for kind, count in sorted(left.items()):
            said = f"{kind}: {count:,} responses"
            yield f"{number}+ {kind}", Unreadable(BadRowReason.unsupported, said, num_bytes=sizes[kind])
        if chunks.damage is not None:  # warcio takes some for the end
            raise chunks.damage

    def _values(self, record: Any, data: bytes, kind: str) -> Values | Unreadable:
        url, crawled = (record.rec_headers.get_header(name) or "" for name in ("WARC-Target-URI", "WARC-Date"))
        if kind == _PAGE:
            found = page(data, self.options, url or None)
            return found if isinstance(found, Unreadable) else {**found, "crawled": crawled}
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return Unreadable(BadRowReason.undecodable, escaped(data), num_bytes=len(data))
        names = ("title", "author", "date", "site")
        language = record.rec_headers.get_header("WARC-Identified-Content-Language") or ""
        return {"text": text, **dict.fromkeys(names, ""), "language": language, "url": url, "crawled": crawled}


def _kind(record: Any) -> str:
    """What a record is: a page, a text, or why it is neither."""
    if record.rec_type == "conversion":
        said = record.rec_headers.get_header("Content-Type") or "no content type"
        return _TEXT if said.startswith("text/plain") else said.partition(";")[0]
    headers = record.http_headers
    if headers is None:
        return "no HTTP response"
    if (status := headers.get_statuscode()) != "200":
        return f"status {status}"
    said = (headers.get_header("Content-Type") or "no content type").partition(";")[0].strip().lower()
    return _PAGE if said in _PAGES else said
