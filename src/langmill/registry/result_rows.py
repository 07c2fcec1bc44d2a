"""The rows of the page of results, read back from an earlier page: another registry may have written it."""

from __future__ import annotations

import re
from dataclasses import dataclass

REFUSED = "Refused by the gate"
_IN_TABLE = re.compile(r"\| `([^`]+)` \|")
_SENTENCE = re.compile(r"- `([^`]+)` \(version \d+(?: of (\d{4}-\d\d-\d\d))?[,)]")


@dataclass(frozen=True)
class Row:
    """What the page says of one model."""

    heading: str
    """Of the part of the page: its task, or `REFUSED`."""
    name: str
    registered: str
    """The day, as in `2026-11-20`; "" on pages of before, which do not say it."""
    in_table: str
    """Its line of the table; "" for one that was refused."""
    sentence: str


def read_rows(page: str) -> list[Row]:
    """The rows of a page that `langmill report` wrote, in its order."""
    rows: list[Row] = []
    heading = ""
    tables: dict[str, str] = {}
    for line in page.splitlines():
        if line.startswith("## "):
            heading, tables = line.removeprefix("## "), {}
        elif found := _IN_TABLE.match(line):
            tables[found[1]] = line
        elif found := _SENTENCE.match(line):
            rows.append(Row(heading, found[1], found[2] or "", tables.get(found[1], ""), line))
    return rows
