"""The text of Word documents (.docx, ECMA-376), by python-docx."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO, Any

from langmill.data.formats.base import FORMATS, Format
from langmill.data.formats.extras import library, too_large_to_hold
from langmill.data.rows import BadRowReason, Raw, Unreadable

_MOST_BYTES = 2**28  # of all parts of a document, unpacked


@FORMATS.register("docx")
class Docx(Format):
    """One row a document, with the fields `text`, `title` and `author`.

    Paragraphs are parted by an empty line; a table's rows are lines, its cells parted by tabs. Headers, footers, notes
    and comments are left out.
    """

    file_endings = frozenset({".docx"})
    auto_endings = file_endings
    makes_documents = True
    diagnosable = False

    def read(self, file: IO[bytes], path: PurePosixPath) -> Iterator[Raw]:
        """The one document of a file."""
        del path
        docx = library("docx", "Word documents")
        data = file.read(_MOST_BYTES + 1)
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as parts:
                size = sum(part.file_size for part in parts.infolist())
            if max(size, len(data)) > _MOST_BYTES:  # a few bytes can unpack to very many
                said = too_large_to_hold(max(size, len(data)), _MOST_BYTES)
                yield 1, Unreadable(BadRowReason.too_large, said, num_bytes=len(data))
                return
            document = docx.Document(io.BytesIO(data))
            text = "\n\n".join(filter(None, map(_text, document.iter_inner_content())))
            about = document.core_properties
            fields = {"title": about.title or "", "author": about.author or ""}
        except Exception as error:  # python-docx and lxml raise whatever a damaged file makes them stumble over
            words = f"{type(error).__name__}: {error}"
            yield 1, Unreadable(BadRowReason.unreadable_file, words, num_bytes=len(data))
            return
        if text:
            yield 1, {"text": text, **fields}
        else:
            yield 1, Unreadable(BadRowReason.missing_text, "The document holds no text.", num_bytes=len(data))


def _text(block: Any) -> str:
    """The text of a paragraph or, one line a row, of a table."""
    if hasattr(block, "rows"):
        return "\n".join("\t".join(cell.text.strip() for cell in row.cells) for row in block.rows).strip()
    return str(block.text).strip()
