"""Long texts cut into passages (.txt), at empty lines wherever that is possible."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO

from pydantic import PositiveInt

from langmill.config.typed import settings
from langmill.data.encoding import encoding_named
from langmill.data.formats.base import FORMATS, Format, decoded
from langmill.data.rows import Raw, Unreadable

_EMPTY_LINES = re.compile(r"\n(?:[^\S\n]*\n)+")
# Project Gutenberg's frame around a text: what it says about itself and its licence is not the author's.
_GUTENBERG_START = re.compile(r"^\*\*\* ?START OF (?:THE|THIS) PROJECT GUTENBERG EBOOK", re.MULTILINE)
_GUTENBERG_END = re.compile(r"^\*\*\* ?END OF (?:THE|THIS) PROJECT GUTENBERG EBOOK", re.MULTILINE)


@settings
class PassagesOptions:
    """How large a passage is."""

    max_characters: PositiveInt
    """Paragraphs are joined as long as they stay within this; a longer paragraph is cut at the ends of lines, and a
    longer line is a passage by itself."""
    encoding: str | None = None
    """What the files are encoded in, by Python's name, as `utf-8` or `cp1252`; null finds it out, file by file."""

    def __post_init__(self) -> None:
        if self.encoding is not None:
            object.__setattr__(self, "encoding", encoding_named(self.encoding))


@FORMATS.register("passages")
class Passages(Format):
    """Passages with the fields `text` and `work` (the file's name without its ending), in the order of the work."""

    options_class = PassagesOptions
    file_endings = frozenset({".txt"})
    text = True
    options: PassagesOptions

    def read(self, file: IO[bytes], path: PurePosixPath) -> Iterator[Raw]:
        """The passages of one work, placed by number."""
        try:
            text = decoded(file.read())
        except Unreadable as error:
            yield 1, error
            return
        end = _GUTENBERG_END.search(text)
        text = text[_frame_end(text) : end.start() if end else None]
        for number, passage in enumerate(cut(text, self.options.max_characters), start=1):
            yield number, {"text": passage, "work": path.stem}


def _frame_end(text: str) -> int:
    """Where the author's text begins: after the line on which the title in Gutenberg's first line ends (`***`)."""
    start = _GUTENBERG_START.search(text)
    stars = text.find("***", start.end()) if start else -1
    return text.find("\n", stars) + 1 if stars >= 0 else 0


def cut(text: str, max_characters: int) -> Iterator[str]:
    """A text's passages; joined again by their empty lines and line ends they are the whole text."""
    paragraphs = (paragraph.strip("\n") for paragraph in _EMPTY_LINES.split(text) if paragraph.strip())
    pieces = (piece for paragraph in paragraphs for piece in _pieces(paragraph, max_characters))
    yield from _joined(pieces, "\n\n", max_characters)


def _pieces(paragraph: str, max_characters: int) -> Iterator[str]:
    """A paragraph, cut at the ends of lines if it is too long."""
    if len(paragraph) <= max_characters:
        yield paragraph
    else:
        yield from _joined(iter(paragraph.split("\n")), "\n", max_characters)


def _joined(pieces: Iterator[str], sign: str, max_characters: int) -> Iterator[str]:
    """Neighbours put together while they stay within the limit."""
    held: list[str] = []
    size = 0
    for piece in pieces:
        if size and size + len(sign) + len(piece) > max_characters:
            yield sign.join(held)
            held, size = [], 0
        if size or piece:
            size += len(piece) + (len(sign) if held else 0)
            held.append(piece)
    if held:
        yield sign.join(held)
