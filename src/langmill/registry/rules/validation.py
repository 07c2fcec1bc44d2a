"""The rule that the version passed validation in a process of its own."""

from __future__ import annotations

from langmill.registry.evidence import Evidence
from langmill.registry.rules.base import RULES, Rule
from langmill.registry.verdict import RuleResult
from langmill.registry.versions import State, Tag


@RULES.register("validation")
class Validation(Rule):
    """Passed, failed, or not known yet."""

    ends_asking = True

    def ask(self, evidence: Evidence) -> list[RuleResult]:
        """Look at the version's state."""
        version = evidence.version
        passed = {State.validated: True, State.rejected: False}.get(version.state)  # None: not yet, or undecided
        sentence = (
            "It loads, answers and says what the trained model says."
            if passed
            else f"{version.title} did not pass validation: {version.tags.get(Tag.reason, 'it was not validated yet.')}"
        )
        return [RuleResult("validation", passed, None, None, sentence)]
