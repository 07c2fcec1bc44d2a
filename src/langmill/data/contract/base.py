"""What an expectation is.

An expectation is a class with `@EXPECTATIONS.register("name")` over it, in a file of `expectations/` or in a module of
another distribution with an entry point of that name in the group `langmill.expectations`. `contract.expectations` in
a corpus's settings names those that are asked, with the options of each.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar

from langmill.config import sections
from langmill.plugins import NoOptions, Registry

if TYPE_CHECKING:  # the stage `compose` checks the options, and knows nothing of evidence
    from langmill.data.contract.evidence import Evidence

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


class Expectation(ABC):
    """One thing that is expected of a corpus; `options` are its own typed settings."""

    options_class: ClassVar[type[Any]] = NoOptions
    """The dataclass of `contract.expectations.NAME`."""

    def __init__(self, options: Any) -> None:
        self.options = options

    @abstractmethod
    def ask(self, evidence: Evidence) -> Sequence[Finding]:
        """What the expectation finds, a finding for each thing that it measures.

        It reads nothing but the evidence: the same report, documents and options give the same findings. Where the
        evidence says nothing of the matter, the outcome is *not asked*.
        """


EXPECTATIONS: Registry[Expectation] = Registry(
    "expectations", Expectation, "langmill.data.contract.expectations", "contract.expectations.NAME"
)


def build_expectations(contract: sections.Contract, where: str) -> dict[str, Expectation]:
    """The expectations of a corpus by their names.

    Args:
        contract: The corpus's settings; an expectation whose options are null is left out.
        where: What they come from, for the message.

    Raises:
        ConfigError: An expectation is unknown or its options are refused.
    """
    found = {name: EXPECTATIONS.find(name, where) for name in contract.expectations}  # a misspelt null is refused too
    return {
        name: found[name](EXPECTATIONS.options(name, options, where, f"contract.expectations.{name}"))
        for name, options in contract.expectations.items()
        if options is not None
    }


def not_asked(subject: str, why: str) -> Finding:
    """A finding where there is nothing to ask about; `why` is a phrase."""
    return Finding(subject, Outcome.not_asked, sentence=f"{why[:1].upper()}{why[1:]}.")


def no_rows() -> Sequence[Place]:
    """The rows of what is no matter of single rows."""
    return ()


Rows = Callable[[], Sequence[Place]]
"""What looks for the rows beyond a limit; it is asked only where there are any."""
