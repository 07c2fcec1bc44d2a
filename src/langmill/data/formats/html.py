"""Web pages (.html): the main text without menus, advertisements and comments, by trafilatura (Barbaresi, 2021)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO

from langmill.config.typed import settings
from langmill.data.formats.base import FORMATS, Format
from langmill.data.formats.extras import library, too_large_to_hold
from langmill.data.rows import BadRowReason, Raw, Unreadable, Values, escaped

_MOST_BYTES = 2**25  # of one page: its tree takes many times as much
_FIELDS = {"title": "title", "author": "author", "date": "date", "site": "sitename", "language": "language"}


@settings
class HtmlOptions:
    """What is taken of a page."""

    comments: bool = False
    """Whether readers' comments below an article are part of its text."""
    tables: bool = True
    """Whether the text of tables is."""


@FORMATS.register("html")
class Html(Format):
    """One row a page, with the fields `text`, `title`, `author`, `date`, `site`, `language` and `url`.

    A page without a main text is quarantined: a form, a list of links, a page that a program fills.
    """

    options_class = HtmlOptions
    file_endings = frozenset({".htm", ".html", ".xhtml"})
    auto_endings = file_endings
    makes_documents = True
    diagnosable = False
    options: HtmlOptions

    def read(self, file: IO[bytes], path: PurePosixPath) -> Iterator[Raw]:
        """The one page of a file."""
        del path
        data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            size = len(data) + sum(map(len, iter(lambda: file.read(2**20), b"")))
            said = f"{too_large_to_hold(size, _MOST_BYTES)}: {escaped(data[:100])}"
            yield 1, Unreadable(BadRowReason.too_large, said, num_bytes=size)
        else:
            yield 1, page(data, self.options)


def page(data: bytes, options: HtmlOptions, url: str | None = None) -> Values | Unreadable:
    """The fields of a web page.

    Args:
        data: The page, in whatever encoding it says it is in.
        options: What is taken of it.
        url: Its address, where it is known.

    Raises:
        DataError: trafilatura is not installed.
    """
    trafilatura = library("trafilatura", "Web pages")
    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)  # what it says of a page is said by the row
    if not data.strip():
        return Unreadable(BadRowReason.missing_text, "", num_bytes=len(data))
    try:
        found = trafilatura.bare_extraction(
            data,
            url=url,
            include_comments=options.comments,
            include_tables=options.tables,
            with_metadata=True,
            favor_recall=False,
        )
    except (ValueError, TypeError, RecursionError, AttributeError, LookupError) as error:  # of what lxml stumbles over
        return Unreadable(BadRowReason.unreadable_file, f"{type(error).__name__}: {error}", num_bytes=len(data))
    text = found and found.text
    if not text or not text.strip():
        return Unreadable(BadRowReason.missing_text, escaped(data), num_bytes=len(data))
    fields: dict[str, object] = {name: getattr(found, attribute, None) or "" for name, attribute in _FIELDS.items()}
    return {"text": text, **fields, "url": url or found.url or ""}
