"""Ask a contract's expectations about the evidence, and say what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langmill.data.contract.base import Expectation
from langmill.data.contract.evidence import Evidence
from langmill.data.contract.findings import Finding, Outcome
from langmill.data.contract.limits import number

_SHOWN = 3  # rows in a sentence; the results have ten
_WORST = 3  # breaches in a sentence


@dataclass(frozen=True)
class Results:
    """What came of a contract."""

    corpus: str
    findings: Mapping[str, tuple[Finding, ...]]
    """The findings of each expectation."""

    def of(self, outcome: Outcome) -> list[tuple[str, Finding]]:
        """The findings with one outcome, each with its expectation's name."""
        return [(name, one) for name, those in self.findings.items() for one in those if one.outcome is outcome]

    @property
    def passed(self) -> bool:
        """Whether nothing was breached."""
        return not self.of(Outcome.breached)

    def breach(self, where: str) -> str:
        """What stops, for a person: each rule with its number, limit and rows, and what to do.

        Args:
            where: The file that holds the contract.
        """
        breached = self.of(Outcome.breached)
        count = "1 limit" if len(breached) == 1 else f"{len(breached)} limits"
        more = len(breached) - _WORST
        parts = [
            f"The corpus {self.corpus} breaks {count} of its contract, so nothing is trained on it.",
            *(f"{name}: {finding.sentence}{_examples(finding)}" for name, finding in breached[:_WORST]),
            *([f"{more} more."] if more > 0 else []),
            f"Mend the data, or, where the new data is right, edit contract.expectations.{breached[0][0]} in {where}"
            f" (`langmill profile {self.corpus}` writes the contract anew from these documents).",
        ]
        return " ".join(parts)

    def note(self) -> str:
        """One calm line on what was beyond a soft limit; nothing where nothing was."""
        warned = self.of(Outcome.warned)
        if not warned:
            return ""
        name, finding = warned[0]
        more = f" (and {len(warned) - 1} more soft limits)" if len(warned) > 1 else ""
        return f"{name}: {finding.sentence.rstrip('.')}{more}"

    def to_json(self) -> dict[str, Any]:
        """Plain values: the outcome, and each finding with its number, limit and rows."""
        return {
            "corpus": self.corpus,
            "passed": self.passed,
            "note": self.note(),
            "findings": [
                {"expectation": name, **finding.to_json()} for name, those in self.findings.items() for finding in those
            ],
        }

    def markdown(self) -> str:
        """A table of the findings, and below it the rows beyond a limit."""
        lines = [f"# The contract of the corpus {self.corpus}", ""]
        if not self.findings:
            return "\n".join([*lines, "It asks for nothing.", ""])
        lines += ["| expectation | outcome | value | limit | |", "|---|---|---:|---|---|"]
        beyond: list[str] = []
        for name, those in self.findings.items():
            for finding in those:
                value = "" if finding.value is None else number(finding.value)
                cells = [name, finding.outcome.value, value, finding.limit, _cell(finding.sentence)]
                lines.append(f"| {' | '.join(cells)} |")
                if finding.rows:
                    beyond += ["", f"## {name}: {finding.subject}", ""]
                    beyond += [f"- {_cell(str(row))}" for row in finding.rows]
        return "\n".join([*lines, *beyond, ""])


def check(corpus: str, evidence: Evidence, expectations: Mapping[str, Expectation]) -> Results:
    """Ask each expectation; the same evidence and expectations give the same results."""
    return Results(corpus, {name: tuple(each.ask(evidence)) for name, each in expectations.items()})


def _examples(finding: Finding) -> str:
    if not finding.rows:
        return ""
    more = len(finding.rows) - _SHOWN
    rows = "; ".join(str(row) for row in finding.rows[:_SHOWN])
    return f" For example {rows}{f'; and {more} more in the results' if more > 0 else ''}."


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
