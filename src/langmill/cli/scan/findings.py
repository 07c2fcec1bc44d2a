"""What a scan of files finds: counts by kind, places, and examples of which no secret can be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from langmill.data.cleaning.detectors.base import Finder
from langmill.data.formats.base import Format
from langmill.data.readers import read_values
from langmill.data.rows import Unreadable, portable

NAMED = "(name of a field)"
"""The field of what is found in the name of one."""
_BESIDE = 24  # characters around a value that an example shows
_SHOWN = 2  # of a value's characters at its beginning and end
_PIECE_BYTES = 2**24  # of a .txt file that are searched at once
_SHORT = 12  # characters of a value of which only the first is shown


class Example(NamedTuple):
    """A value that was found, not readable."""

    where: str
    """The row's place."""
    field: str
    """Its field, with the values in the field's name masked."""
    text: str
    """What stands around it, all values in it masked."""


@dataclass
class Findings:
    """What was found."""

    examples_a_kind: int
    cover: Finder
    """What an example is masked by: it shows what stands beside a value, and that may be of a kind not looked for."""
    files: int = 0
    rows: int = 0
    unreadable: Counter[str] = field(default_factory=Counter)
    """Rows that could not be read, by reason."""
    values: Counter[str] = field(default_factory=Counter)
    """Values by kind."""
    rows_with: Counter[str] = field(default_factory=Counter)
    """Rows that have any, by kind."""
    files_with: dict[str, Counter[str]] = field(default_factory=dict)
    """Values by kind, then by file."""
    fields_with: dict[str, Counter[str]] = field(default_factory=dict)
    """Values by kind, then by field, as an example has it."""
    examples: dict[str, list[Example]] = field(default_factory=dict)
    """The first few by kind, none of them twice."""

    def add(self, file: str, where: str, texts: Iterable[tuple[str, str]], finder: Finder) -> None:
        """Search one row.

        Args:
            file: Its file.
            where: Its place, with the file's name.
            texts: What it holds of text, by field, with the names of fields fit to be shown.
            finder: What finds.
        """
        self.rows += 1
        kinds: set[str] = set()
        for name, text in texts:
            for one in finder.find(text):
                kinds.add(one.kind)
                self.values[one.kind] += 1
                self.files_with.setdefault(one.kind, Counter())[file] += 1
                self.fields_with.setdefault(one.kind, Counter())[name] += 1
                known = self.examples.setdefault(one.kind, [])
                if len(known) < self.examples_a_kind:
                    start, end = max(0, one.start - _BESIDE), min(len(text), one.end + _BESIDE)
                    example = Example(where, name, " ".join(self.masked(text, start, end).split()))
                    if example.text not in {other.text for other in known}:
                        known.append(example)
        self.rows_with.update(kinds)

    def masked(self, text: str, start: int, end: int) -> str:
        """A part of a text with all values masked."""
        return "".join(_masked_parts(text, [each[:2] for each in self.cover.find(text)], start, end))

    def as_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return {
            "files": self.files,
            "rows": self.rows,
            "unreadable": dict(self.unreadable),
            "kinds": {
                kind: {
                    "values": count,
                    "rows": self.rows_with[kind],
                    "files": dict(self.files_with[kind].most_common()),
                    "fields": dict(self.fields_with[kind].most_common()),
                    "examples": [example._asdict() for example in self.examples[kind]],
                }
                for kind, count in sorted(self.values.items())
            },
        }


def _masked_parts(text: str, spans: Sequence[tuple[int, int]], start: int, end: int) -> Iterator[str]:
    """A part of a text in pieces, every value masked, also one that the part cuts."""
    yield "…" * (start > 0)
    at = start
    for first, last in spans:
        if last <= start or first >= end:
            continue
        yield text[at:first] if first > at else ""
        yield masked(text[first:last])
        at = last
    yield text[at:end] if at < end else ""
    yield "…" * (end < len(text))


def masked(value: str) -> str:
    """A value that can be recognised by who knows it, and read by nobody: at most four of its characters."""
    value = " ".join(value.split())
    return f"{value[:1]}…" if len(value) < _SHORT else f"{value[:_SHOWN]}…{value[-_SHOWN:]}"


def search(
    folder: Path,
    paths: Sequence[Path],
    file_format: Format,
    finder: Finder,
    *,
    cover: Finder,
    examples: int,
    on_bytes: Callable[[int], object],
) -> Findings:
    """Search every text of every row of some files, and the names of their fields.

    A name is searched once a file, with the row that has it first: where a table has no header, its first row is taken
    for one, and an object's keys can be anything. A long .txt file is searched in pieces, which count as rows.

    Args:
        folder: What the files' names begin after.
        paths: The files.
        file_format: What reads them.
        finder: What finds.
        cover: What examples are masked by; it finds more kinds, never fewer.
        examples: How many are kept of each kind.
        on_bytes: Called with the bytes read since the last call.
    """
    findings = Findings(examples, cover)
    for path in paths:
        name = portable(path.relative_to(folder).as_posix())
        findings.files += 1
        known: dict[str, str] = {}
        for place, values in read_values(folder, path, file_format, on_bytes, piece_bytes=_PIECE_BYTES):
            if isinstance(values, Unreadable):
                findings.unreadable[values.reason.value] += 1
                findings.add(name, f"{name}:{place}", [("", values.row)], finder)
            else:
                new = [key for key in dict.fromkeys(_keys(values)) if key not in known]
                known.update((key, findings.masked(key, 0, len(key))) for key in new)
                named = [(NAMED, key) for key in new]
                findings.add(name, f"{name}:{place}", [*named, *_texts("", values, known)], finder)
    return findings


def _texts(name: str, value: object, shown: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The texts in a row by their fields, numbers too, lists and objects opened up; names are shown as told."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(f"{name}.{shown[str(key)]}" if name else shown[str(key)], inner, shown)
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _texts(f"{name}.{number}", inner, shown)
    elif isinstance(value, float) and value.is_integer():
        yield name, str(int(value))  # whole numbers of a column with gaps are often kept so
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield name, str(value)


def _keys(value: object) -> Iterator[str]:
    """The names in a row, those in its lists and objects too."""
    if isinstance(value, Mapping):
        yield from map(str, value)
    for inner in value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ():
        yield from _keys(inner)
