"""What came of an expectation: its outcome, the number, the limit and some of the rows beyond it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

ROWS = 10
"""Rows that a finding shows, at most."""


class Outcome(StrEnum):
    """What came of an expectation."""

    passed = "passed"
    warned = "warned"
    """Beyond the limit `warn`: told, and training goes on."""
    breached = "breached"
    """Beyond the limit `stop`: nothing is trained on these documents."""
    not_asked = "not asked"
    """The corpus or its report has nothing to ask it about."""


@dataclass(frozen=True, slots=True)
class Place:
    """A row that a finding is about."""

    where: str
    """Its place in the raw files; "" where that is not known."""
    id: str = ""
    """The document's id; "" for a row that became none."""
    note: str = ""
    """What is to be seen there: the label, the beginning of the text, the reason."""

    def __str__(self) -> str:
        place = f"{self.where} ({self.id})" if self.where and self.id else self.where or self.id
        return f"{place}: {self.note}" if self.note else place


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one thing that an expectation asked."""

    subject: str
    """What was measured, in a few words: `labels that are not listed`."""
    outcome: Outcome
    value: float | None = None
    """The number that decided."""
    limit: str = ""
    """The limit that it is beyond, as the settings have it: `stop: 0.01`; where it passed, the nearest one."""
    sentence: str = ""
    """The same for a person."""
    rows: tuple[Place, ...] = ()
    """Some of the rows that are beyond the limit."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "outcome": self.outcome.value}


def not_asked(subject: str, why: str) -> Finding:
    """A finding where there is nothing to ask about; `why` is a phrase."""
    return Finding(subject, Outcome.not_asked, sentence=f"{why[:1].upper()}{why[1:]}.")


def no_rows() -> Sequence[Place]:
    """The rows of what is no matter of single rows."""
    return ()


Rows = Callable[[], Sequence[Place]]
"""What looks for the rows beyond a limit; it is asked only where there are any."""
