"""What a file is: its format, encoding, delimiter and header, its first rows, and what is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath

import pyarrow as pa

from langmill.config.sections import FormatSection
from langmill.data.compression import COMPRESSIONS, DAMAGED, is_of_machine
from langmill.data.diagnosis.diagnose import diagnose
from langmill.data.diagnosis.tables import damaged
from langmill.data.encoding import HEAD
from langmill.data.formats.auto import claimed_by
from langmill.data.formats.base import Format, build_format, recognized
from langmill.data.formats.tables import TABLES, dialect_of, has_header
from langmill.data.raw_files import RawFile, open_raw
from langmill.data.rows import BadRowReason, Unreadable, Values
from langmill.errors import LangmillError

_WHERE = "detection"
_SAMPLED_ROWS = 100  # by which the shape of the rows is recognised
_SHOWN_ROWS = 5
_HEADER_ROWS = 20  # by which a header is told from a row
_COUNTED = 2**25
"""Bytes up to which a file is read to its end, so that its rows are counted; eight times less of a compressed one."""
_LANGUAGE_LETTERS = (2, 3)  # of a language's code (ISO 639), by which files of a pair are called


@dataclass(frozen=True)
class Detected:
    """What a file was found to be."""

    format_name: str
    """The format that reads it: `auto`, the one whose shape its rows have, or the one that its ending is for."""
    options: Mapping[str, object] = field(default_factory=dict)
    """What the format must be told to read it so: encoding, delimiter, header."""
    encoding: str | None = None
    """Of a text file, by Python's name; None for other files."""
    delimiter: str | None = None
    """What stands between the cells of a table; None for other files."""
    has_header: bool | None = None
    """Whether a table's first line names its columns; None for other files."""
    rows: list[Values] = field(default_factory=list)
    """The first five."""
    num_rows: int | None = None
    """How many there are, those that can't be read among them; None where the file is too large to be counted at
    once."""
    problem: str | None = None
    """Why it can't be read, or not as it was meant to be, and what to do: a sentence."""
    damage: str | None = None
    """Why its rows end before the file does, a sentence; None where they do not, or nobody looked that far."""


def detect(path: Path, relative: PurePosixPath) -> Detected:
    """Look at one file.

    Args:
        path: The file.
        relative: Its path below the folder that was given, whose ending decides how it is read.
    """
    auto = build_format(FormatSection("auto", {}), _WHERE)
    name = claimed_by(relative) or "auto"
    if problem := diagnose(path, rows=False):
        return Detected(name, problem=problem)
    if auto.ending(relative) is None:
        return Detected(name, problem=f"No format reads files of this ending; readable are {auto.endings()}.")
    try:
        return _detected(path, relative, auto, name)
    except (*DAMAGED, pa.ArrowException) as error:
        return Detected(name, problem=damaged(error))
    except LangmillError as error:
        return Detected(name, problem=str(error))


def _detected(path: Path, relative: PurePosixPath, auto: Format, name: str) -> Detected:
    delimiter: str | None = None
    header: bool | None = None
    options: dict[str, object] = {}
    ending = str(auto.ending(relative))
    if ending in TABLES:
        with open_raw(path, relative, auto) as raw:
            head = raw.file.peek(HEAD)[:HEAD].decode("utf-8-sig", "replace")
        dialect = dialect_of(head, TABLES[ending], quoted=ending != ".tsv")
        records = list(islice(dialect.records(head), _HEADER_ROWS))
        delimiter, header = dialect.delimiter, not records or has_header(records)
        options |= {"delimiter": delimiter} if delimiter != TABLES[ending] else {}
        options |= {} if header else {"header": False}
    reads = build_format(FormatSection(name, options), _WHERE)
    with open_raw(path, relative, reads) as raw:
        small = 8 if relative.suffix.lower() in COMPRESSIONS else 1
        whole = path.stat().st_size * small <= _COUNTED
        rows, num_rows, refused, damage = _rows(raw, reads, relative, whole=whole)
        encoding = raw.encoding
    if encoding not in (None, "utf-8"):
        options["encoding"] = encoding
    problem = None
    if refused is not None or not rows:
        problem = diagnose(path) or refused or damage or "None of its rows can be read; look at its first lines."
    return Detected(
        (recognized(rows) if name == "auto" and rows else None) or name,
        options, encoding, delimiter, header, rows[:_SHOWN_ROWS], num_rows, problem, damage,
    )  # fmt: skip


def _rows(
    raw: RawFile, reads: Format, relative: PurePosixPath, *, whole: bool
) -> tuple[list[Values], int | None, str | None, str | None]:
    """The first rows, how many there are where the `whole` file is read, what refuses the file, and what damages it."""
    if reads.is_plain_text(relative) and not whole:
        return [raw.beginning()], 1, None, None
    rows: list[Values] = []
    count, damage = 0, None
    try:
        for _, values in reads.read(raw.file, raw.path):
            count += 1
            if not isinstance(values, Unreadable):
                if len(rows) < _SAMPLED_ROWS:
                    rows.append(values)
                elif not whole:
                    break
            elif values.refusal is not None:
                return rows, count, values.refusal, damage
            elif values.reason is BadRowReason.unreadable_file:
                damage = damaged(values.row)
    except (*DAMAGED, pa.ArrowException) as error:
        if is_of_machine(error):
            raise
        damage = damaged(error)
    return rows, count if whole else None, None, damage


def _languages_in(name: PurePosixPath, codes: set[str]) -> set[str]:
    """The languages among the endings of files of one name, which OPUS says in it: `a.de-en.de`, not `a.de-en.ids`."""
    said = set(name.suffix.lower().removeprefix(".").split("-"))
    return said if said <= codes else codes


def pairs_of_files(paths: Iterable[PurePosixPath]) -> tuple[str, str] | None:
    """The endings of files that are pairs for the format `moses`, as ("de", "en"); None where there are none.

    Of files with one name and two languages' codes for endings, that of most pairs; which of the two is the source,
    nobody can see.

    Args:
        paths: All files of a folder.
    """
    by_name: dict[PurePosixPath, set[str]] = {}
    for path in paths:
        bare = path.with_suffix("") if path.suffix.lower() in COMPRESSIONS else path
        code = bare.suffix.lower().removeprefix(".")
        if len(code.partition("_")[0].partition("-")[0]) in _LANGUAGE_LETTERS and code[:2].isalpha():
            by_name.setdefault(bare.with_suffix(""), set()).add(code)
    named = (_languages_in(name, codes) for name, codes in by_name.items())
    pairs = Counter(tuple(sorted(codes)) for codes in named if len(codes) == 2)
    found = sorted(pairs, key=lambda pair: (-pairs[pair], pair))
    return (found[0][0], found[0][1]) if found else None
