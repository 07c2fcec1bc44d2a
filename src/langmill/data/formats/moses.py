"""Pairs of text files whose lines belong together by number (`a.en`, `a.de`), as Moses reads and OPUS offers them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path, PurePosixPath
from typing import IO

from langmill.config.constraints import require
from langmill.config.typed import settings
from langmill.data.compression import COMPRESSIONS
from langmill.data.encoding import encoding_named
from langmill.data.formats.base import FORMATS, Format, lines_of
from langmill.data.rows import BadRowReason, Raw, Unreadable, escaped


@settings
class MosesOptions:
    """Which files are pairs."""

    source: str
    """The ending of the files with the sources, as `en`."""
    target: str
    """The ending of the files with their translations, as `de`."""
    encoding: str | None = None
    """What the files are encoded in, by Python's name, as `utf-8` or `cp1252`; null finds it out, file by file."""

    def __post_init__(self) -> None:
        for name in ("source", "target"):
            ending = getattr(self, name).lower().removeprefix(".")
            require(ending.replace("-", "").replace("_", "").isalnum(), name, ending, "the ending of a file, as en")
            object.__setattr__(self, name, ending)
        require(self.source != self.target, "target", self.target, "another ending than source's")
        if self.encoding is not None:
            object.__setattr__(self, "encoding", encoding_named(self.encoding))


@FORMATS.register("moses")
class Moses(Format):
    """Lines with the fields `source`, `target` and `work` (the files' name without its ending).

    Two files of which one has more lines than the other refuse the corpus: somewhere in them a line is missing, and
    every pair behind it is wrong. A file without its partner is quarantined. Each may be compressed in its own way.
    """

    options_class = MosesOptions
    file_endings = frozenset({".SOURCE", ".TARGET"})
    text = True
    diagnosable = False
    options: MosesOptions

    def readable(self) -> frozenset[str]:
        """The endings that the options name."""
        return frozenset({f".{self.options.source}", f".{self.options.target}"})

    def leads(self, path: PurePosixPath) -> bool:
        """Whether a file has the sources."""
        return self.ending(path) == f".{self.options.source}"

    def companions(self, path: PurePosixPath) -> list[PurePosixPath]:
        """The files that can have the other lines of a pair: of the same name, compressed in any way or not."""
        other = self.options.target if self.leads(path) else self.options.source
        return [path.with_name(f"{_stem(path)}.{other}{each}") for each in ("", *sorted(COMPRESSIONS))]

    def read(self, file: IO[bytes], path: PurePosixPath) -> Iterator[Raw]:
        """One file alone is no pair."""
        data = file.read()
        yield 1, Unreadable(BadRowReason.unexpected_shape, f"{path.name} alone: {escaped(data)}", num_bytes=len(data))

    def read_pair(self, file: IO[bytes], other: IO[bytes], path: PurePosixPath) -> Iterator[Raw]:
        """The lines of two files, placed by number."""
        work, place = path.stem, 0
        sources, targets = filter(None, lines_of(file)), filter(None, lines_of(other))
        for place, (source, target) in enumerate(zip_longest(sources, targets), start=1):
            if source is None or target is None:
                sizes = list(map(len, [source or target or b"", *sources, *targets]))
                more, less = ("source", "target") if target is None else ("target", "source")
                said = (
                    f"The {more} has {place - 1 + len(sizes):,} lines and the {less} {place - 1:,}, so that no line "
                    "can be trusted to stand beside its translation; get both files again."
                )
                yield place, Unreadable(BadRowReason.unexpected_shape, said, num_bytes=sum(sizes), refusal=said)
                return
            pair = [line.rstrip(b"\r\n") for line in (source, target)]
            try:
                texts = [line.decode("utf-8-sig" if place == 1 else "utf-8") for line in pair]
            except UnicodeDecodeError:
                size = len(source) + len(target)
                yield place, Unreadable(BadRowReason.undecodable, escaped(b" | ".join(pair)), num_bytes=size)
                continue
            yield place, {"source": texts[0], "target": texts[1], "work": work}


def _stem(path: PurePosixPath | Path) -> str:
    """A file's name without the ending of its language and of its compression."""
    name = path.name.removesuffix(path.suffix) if path.suffix.lower() in COMPRESSIONS else path.name
    return name.rpartition(".")[0]
