"""The text of PDF documents, by pypdf."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO

from langmill.config.typed import settings
from langmill.data.formats.base import FORMATS, Format
from langmill.data.formats.extras import library, too_large_to_hold
from langmill.data.rows import BadRowReason, Raw, Unreadable

_MOST_BYTES = 2**29


@settings
class PdfOptions:
    """What a row is."""

    pages: bool = False
    """Whether each page is a row of its own, placed by its number; else a document is one."""


@FORMATS.register("pdf")
class Pdf(Format):
    """Documents with the fields `text`, `title`, `author` and `pages` (how many it has).

    Only text that stands in the file as text: a scanned page has none, and a document or page without any is
    quarantined. So is one that asks for a password.
    """

    options_class = PdfOptions
    file_endings = frozenset({".pdf"})
    auto_endings = file_endings
    makes_documents = True
    diagnosable = False
    options: PdfOptions

    def read(self, file: IO[bytes], path: PurePosixPath) -> Iterator[Raw]:
        """The document of one file, or its pages."""
        del path
        pypdf = library("pypdf", "PDF documents")
        logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # what it says of a file is said by the row
        data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            size = len(data) + sum(map(len, iter(lambda: file.read(2**20), b"")))
            yield 1, Unreadable(BadRowReason.too_large, too_large_to_hold(size, _MOST_BYTES), num_bytes=size)
            return
        number, texts = 0, list[str]()
        try:
            document = pypdf.PdfReader(io.BytesIO(data), strict=False)
            if document.is_encrypted and not document.decrypt(""):
                yield 1, Unreadable(BadRowReason.unreadable_file, "It asks for a password.", num_bytes=len(data))
                return
            count = len(document.pages)
            about = document.metadata
            fields = {"title": str((about and about.title) or ""), "author": str((about and about.author) or "")}
            for number, each in enumerate(document.pages, start=1):
                text = each.extract_text().strip()
                if not self.options.pages:
                    texts.append(text)
                elif text:
                    yield number, {"text": text, **fields, "pages": count}
                else:
                    said = f"page {number} of {count} holds no text; it may be a picture of one"
                    yield number, Unreadable(BadRowReason.missing_text, said, num_bytes=len(data) // count)
        except GeneratorExit:
            raise
        except Exception as error:  # pypdf raises whatever a damaged file makes it stumble over
            share = 1.0 if not self.options.pages or not number else 1 - (number - 1) / max(1, count)
            words = f"{type(error).__name__}: {error}"
            lost = max(1, round(share * len(data)))
            yield number or 1, Unreadable(BadRowReason.unreadable_file, words, num_bytes=lost)
            return
        if self.options.pages:
            return
        whole = "\n\n".join(filter(None, texts))
        if whole:
            yield 1, {"text": whole, **fields, "pages": count}
        else:
            said = f"none of its {count} pages holds text; they may be pictures of it"
            yield 1, Unreadable(BadRowReason.missing_text, said, num_bytes=len(data))
