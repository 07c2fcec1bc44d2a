"""What a format offers.

A format is one file: an optional options dataclass, a `Format`, and `FORMATS.register` over it.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, ClassVar

from langmill.config.sections import FormatSection
from langmill.data.compression import COMPRESSIONS, DAMAGED, is_of_machine
from langmill.data.rows import BadRowReason, Raw, Unreadable, Values, escaped
from langmill.files import MANIFEST_NAME
from langmill.plugins import NoOptions, Registry


@dataclass(frozen=True)
class Shape:
    """What a corpus says of a format's rows where nobody has said otherwise."""

    text: str
    """The field that holds a document's text."""
    target: str
    metadata: tuple[str, ...]
    split_by: str
    """The metadata field whose equal values stay in one split."""
    task: str = "chat"
    """The task that such rows are mostly for."""


class Format(ABC):
    """Raw files to rows."""

    options_class: ClassVar[type[Any]] = NoOptions
    """The dataclass of the format's options."""
    file_endings: ClassVar[frozenset[str]]
    """The files it reads, by their ending in lower case; each may be compressed."""
    auto_endings: ClassVar[frozenset[str]] = frozenset()
    """Those of them that `auto` leaves to it: endings that say all there is to say of a file."""
    makes_documents: ClassVar[bool] = False
    """Whether each of its rows has a document's text under `text`, whatever else there is."""
    text: ClassVar[bool] = False
    """Whether its files are text of whatever encoding, which it is given as UTF-8."""
    diagnosable: ClassVar[bool] = True
    """Whether its files are text, and rows of `auto` where they end like them, as `diagnosis.diagnose` takes them to
    be."""
    shape: ClassVar[Shape | None] = None
    """What `langmill new corpus` writes for files that it `recognizes`; None for a format that recognizes none."""

    def __init__(self, options: Any) -> None:
        self.options = options

    @classmethod
    def recognizes(cls, values: Values) -> bool:
        """Whether a row that `auto` reads of a file has the shape that this format is for."""
        del values
        return False

    @abstractmethod
    def read(self, file: IO[bytes], path: PurePosixPath) -> Iterator[Raw]:
        """The rows of one file, as a stream where the file allows it.

        What is wrong with a row is yielded in its place (`Unreadable`), never raised. Each row's place is another one:
        a person finds the row by it.

        Args:
            file: The content, decompressed, and in UTF-8 where the file is text (`is_text`).
            path: The file's path below the raw folder, for formats whose folders mean something.
        """

    def is_plain_text(self, path: PurePosixPath) -> bool:
        """Whether the file is one text, so that the corpus's `fields` mean nothing there."""
        del path
        return False

    def is_document(self, path: PurePosixPath) -> bool:
        """Whether the text of a file's rows is their field `text`, whichever the corpus names for its tables."""
        del path
        return False

    def is_text(self, path: PurePosixPath) -> bool:
        """Whether a file is text, which is given to `read` as UTF-8 whatever its encoding is."""
        del path
        return self.text

    @property
    def encoding(self) -> str | None:
        """The encoding of its text files that the options name; None finds it out, file by file."""
        return getattr(self.options, "encoding", None)

    def told(self, head: str, path: PurePosixPath) -> str | None:
        """What is told of how a text file is read, where its beginning asks for it: words to follow "a.csv: "."""
        del head, path
        return None

    def companions(self, path: PurePosixPath) -> list[PurePosixPath]:
        """The names that the file beside this one can have whose rows belong to its own, for formats of pairs."""
        del path
        return []

    def leads(self, path: PurePosixPath) -> bool:
        """Whether the rows of a pair of files are read when this one's turn comes."""
        del path
        return True

    def read_pair(self, file: IO[bytes], other: IO[bytes], path: PurePosixPath) -> Iterator[Raw]:
        """The rows of a file and its companion; see `read`."""
        del other
        return self.read(file, path)

    def readable(self) -> frozenset[str]:
        """The endings of the files that it reads."""
        return self.file_endings

    def ending(self, path: PurePosixPath | Path) -> str | None:
        """The ending that decides how a file is read (`.jsonl` for `a.jsonl.gz`); None where it is not read."""
        found = [ending.lower() for ending in path.suffixes]
        if found and found[-1] in COMPRESSIONS:
            found.pop()
        return found[-1] if found and found[-1] in self.readable() else None

    def reads(self, path: PurePosixPath | Path) -> bool:
        """Whether it reads a file of this relative path: no hidden one, no folder's own manifest, no `README.md`."""
        hidden = any(part.startswith(".") for part in path.parts)
        return not hidden and not is_about(path) and path.name != MANIFEST_NAME and self.ending(path) is not None

    def endings(self) -> str:
        """The file endings that can be read, for messages."""
        return f"{', '.join(sorted(self.readable()))}, each plain or with {', '.join(sorted(COMPRESSIONS))}"


def is_about(path: PurePosixPath | Path) -> bool:
    """Whether a file is about the data beside it, by its name (`README.md`, `LICENSE`), and none of them."""
    return _ABOUT.fullmatch(path.name) is not None


FORMATS: Registry[Format] = Registry("formats", Format, "langmill.data.formats", "format.name")
ABOUT = "README or LICENSE"
"""Why files that `is_about` are not read."""
_ABOUT = re.compile(r"(readme|licen[cs]e)(\.(md|markdown|rst|txt))?", re.IGNORECASE)
_FIRST_LINE = 2**16  # bytes in which the end of a line shows what ends lines here


def build_format(section: FormatSection, where: str) -> Format:
    """The format that a corpus names, with its options.

    Args:
        section: The name and the options, not yet typed.
        where: What they come from, for messages.

    Raises:
        ConfigError: There is no such format, or its options are refused.
    """
    options = FORMATS.options(section.name, section.options, where)
    return FORMATS.find(section.name)(options)


def rest_of_damaged(error: Exception, num_bytes: int) -> Unreadable:
    """What is left of a file, or of a member of an archive, whose reader gave up with an error.

    Raises the error where it is the machine's fault and not the file's.
    """
    if is_of_machine(error):
        raise error
    return Unreadable(BadRowReason.unreadable_file, f"{type(error).__name__}: {error}", num_bytes=max(1, num_bytes))


class Chunks:
    """A file that is read in large pieces, up to a damage: what stands before it comes first.

    A buffered file's own `read` forgets what it has when the next piece can't be read.

    Attributes:
        damage: What reading beyond the last piece raises; None as long as it raises nothing.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._read1: Callable[[int], bytes] = file.read1  # type: ignore[attr-defined]
        self.damage: Exception | None = None

    def read(self, size: int) -> bytes:
        """The next bytes: so many, or all that are left. Raises what is in `DAMAGED` where there are none."""
        if self.damage is not None:
            raise self.damage
        pieces, wanted = list[bytes](), size
        try:
            while wanted and (piece := self._read1(wanted)):
                pieces.append(piece)
                wanted -= len(piece)
        except DAMAGED as error:
            self.damage = error
            if not pieces:
                raise
        return b"".join(pieces)


def lines_of(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a file with their ends; a file without a line feed at its beginning has old Apple ends (CR)."""
    first = file.readline(_FIRST_LINE)
    if b"\n" in first or b"\r" not in first:
        yield first if first.endswith(b"\n") else first + file.readline()
        yield from file
        return
    held: list[bytes] = []
    while first:
        *whole, last = first.split(b"\r")
        for line in whole:
            yield b"".join([*held, line, b"\r"])
            held.clear()
        held.append(last)
        first = file.read(_FIRST_LINE)
    if any(held):
        yield b"".join(held)


def decoded(data: bytes) -> str:
    """A UTF-8 file's text, with even line ends and without a byte-order mark.

    Raises Unreadable where it is not UTF-8.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(BadRowReason.undecodable, escaped(data), num_bytes=len(data)) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def recognized(rows: Sequence[Values]) -> str | None:
    """The format whose shape most of a file's first rows have, as `auto` reads them; None where there is none."""
    for name in FORMATS.names():
        if 2 * sum(map(FORMATS.find(name).recognizes, rows)) > len(rows):
            return name
    return None
