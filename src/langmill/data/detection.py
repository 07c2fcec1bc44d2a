"""What a file is: its format, encoding, delimiter and header, its first rows, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from langmill.config.sections import FormatSection
from langmill.data.diagnosis.diagnose import diagnose
from langmill.data.formats.base import build_format, recognized
from langmill.data.readers import first_rows
from langmill.data.rows import Values

_SAMPLED_ROWS = 100  # by which the shape of the rows is recognised
_SHOWN_ROWS = 5


@dataclass(frozen=True)
class Detected:
    """What a file was found to be."""

    format_name: str
    """The format that reads it: `auto`, or the one whose shape its rows have."""
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
    """How many there are; None where the file is too large to be counted at once."""
    problem: str | None = None
    """Why it can't be read, or not as it was meant to be, and what to do: a sentence."""


def detect(path: Path, relative: PurePosixPath) -> Detected:
    """Look at one file.

    Args:
        path: The file.
        relative: Its path below the folder that was given, whose ending decides how it is read.
    """
    auto = build_format(FormatSection("auto", {}), "detection")
    if auto.ending(relative) is None:
        return Detected("auto", problem=diagnose(path, rows=False) or "No format reads files of this ending.")
    if problem := diagnose(path, rows=False):
        return Detected("auto", problem=problem)
    rows = first_rows(path, auto, _SAMPLED_ROWS)
    return Detected(recognized(rows) or "auto", rows=rows[:_SHOWN_ROWS])
