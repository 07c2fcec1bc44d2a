"""What the gate said of a version, and why: each rule with its figure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from langmill.registry.versions import ModelVersion, Tag

CANNOT_TELL = "cannot tell"


@dataclass(frozen=True)
class Rule:
    """One thing that was asked of a version."""

    name: str
    passed: bool | None
    """None where it can't be told."""
    value: float | None
    """The figure that decided, if the rule is about one."""
    threshold: float | None
    """What it must be above, or reach where it is a count."""
    sentence: str


@dataclass(frozen=True)
class Verdict:
    """What the gate said of a version."""

    name: str
    version: int
    against: str
    """What it was compared with: `version 2`, or `the baseline unigram`."""
    champion: int | None
    """The champion at that time."""
    question: str
    """Digest of the settings, the protocol and the scores that were judged by."""
    unchanged: bool
    """Whether the version is the champion already, so that there was nothing to judge."""
    rules: tuple[Rule, ...]
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
    def outcome(self) -> str:
        """`unchanged`, `passed`, `refused` or `cannot tell`."""
        if self.unchanged:
            return "unchanged"
        if self.passed:
            return "passed"
        return "refused" if any(rule.passed is False for rule in self.rules) else CANNOT_TELL

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
        """Plain values, from which `from_json` makes the verdict again; `outcome` and `sentence` are for readers."""
        return {**asdict(self), "outcome": self.outcome, "sentence": self.sentence}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Verdict:
        """The verdict of `to_json`."""
        plain = {key: value for key, value in values.items() if key not in ("outcome", "sentence", "rules", "notes")}
        rules = tuple(Rule(**rule) for rule in values["rules"])
        return cls(**plain, rules=rules, notes=tuple(values.get("notes", ())))

    @classmethod
    def of(cls, version: ModelVersion) -> Verdict | None:
        """The verdict that is noted on a version; None if there is none that can be read."""
        try:
            return cls.from_json(json.loads(version.tags[Tag.verdict]))
        except (KeyError, ValueError, TypeError):
            return None


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
