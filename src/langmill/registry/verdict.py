"""What the gate said of a version, and why: a result for each rule. Tags, ledger and pages are views of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from langmill.registry.versions import ModelVersion, Tag


class Outcome(StrEnum):
    """What a verdict comes to."""

    passed = "passed"
    refused = "refused"
    cannot_tell = "cannot tell"
    """Nothing is promoted, and the next run asks again."""
    unchanged = "unchanged"
    """The version is the champion already."""


@dataclass(frozen=True)
class RuleResult:
    """What came of one thing that was asked of a version."""

    name: str
    passed: bool | None
    """None where it can't be decided."""
    value: float | None
    """The number that decided, if the rule is about one."""
    threshold: float | None
    """What it must be above, or reach where it is a count."""
    sentence: str
    remark: str = ""
    """What a person should know also where it is kept."""


@dataclass(frozen=True)
class Verdict:
    """What the gate said of a version."""

    name: str
    version: int
    against: str
    """What it was compared with: `version 2`, or `the baseline unigram`."""
    champion: int | None
    """The champion at that time."""
    comparison_key: str
    """Digest of all that the verdict follows from; "" where some of it could not be had."""
    unchanged: bool
    """Whether the version is the champion already, so that there was nothing to judge."""
    rules: tuple[RuleResult, ...]
    weights: str = ""
    """SHA-256 of the version's weights; "" where it was not noted."""
    champion_weights: str = ""
    """SHA-256 of the champion's weights; "" where there is no champion or it was not noted."""
    notes: tuple[str, ...] = ()
    """What a person should know besides."""

    @property
    def passed(self) -> bool:
        """Whether every rule was kept."""
        return all(rule.passed for rule in self.rules)

    @property
    def outcome(self) -> Outcome:
        """What it comes to."""
        if self.unchanged:
            return Outcome.unchanged
        if self.passed:
            return Outcome.passed
        return Outcome.refused if any(rule.passed is False for rule in self.rules) else Outcome.cannot_tell

    @property
    def sentence(self) -> str:
        """The verdict for a person: what decided it."""
        if self.unchanged:
            return f"{self.name} version {self.version} is the champion already ({self._compared_weights})."
        wrong = [rule.sentence for rule in self.rules if rule.passed is False]
        wrong = wrong or [rule.sentence for rule in self.rules if rule.passed is None]
        return " ".join([*(wrong or [rule.sentence for rule in self.rules[-1:]]), *self.notes])

    @property
    def _compared_weights(self) -> str:
        """Both models' weights, for people."""
        mine = f"weights {self.weights[:12] or 'not noted'}"
        return f"{mine}, champion's {self.champion_weights[:12] or 'not noted'}" if self.champion is not None else mine

    def markdown(self) -> str:
        """The verdict as a heading, a sentence and a table of rules."""
        lines = [f"### {self.name} version {self.version}: {self.outcome}", "", self.sentence, ""]
        if self.rules:
            lines += ["| rule | kept | value | must be above, or reach |", "|---|---|---:|---:|"]
            kept = {True: "yes", False: "**no**", None: "can't be told"}
            lines += [
                f"| {rule.name} | {kept[rule.passed]} | {_number(rule.value)} | {_number(rule.threshold)} |"
                for rule in self.rules
            ]
            lines += ["", f"Compared by their {self._compared_weights}."]
        return "\n".join(lines).rstrip() + "\n"

    def to_json(self) -> dict[str, Any]:
        """Plain values, from which `from_json` makes the verdict again; `outcome` and `sentence` are for people."""
        return {**asdict(self), "outcome": str(self.outcome), "sentence": self.sentence}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Verdict:
        """Read what `to_json` gave; older ones call the comparison key a question."""
        plain = {key: value for key, value in values.items() if key not in ("outcome", "sentence", "question")}
        plain.setdefault("comparison_key", values.get("question", ""))
        rules = tuple(RuleResult(**rule) for rule in values["rules"])
        return cls(**{**plain, "rules": rules, "notes": tuple(values.get("notes", ()))})

    @classmethod
    def of(cls, version: ModelVersion) -> Verdict | None:
        """The verdict that is noted on a version; None if there is none that can be read."""
        try:
            return cls.from_json(json.loads(version.tags[Tag.verdict]))
        except (KeyError, ValueError, TypeError):
            return None


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
