"""The rule that nobody rolled the version back."""

from __future__ import annotations

from langmill.registry.evidence import Evidence
from langmill.registry.rules.base import RULES, Rule
from langmill.registry.verdict import RuleResult
from langmill.registry.versions import Tag


@RULES.register("not_rolled_back")
class NotRolledBack(Rule):
    """What a person took out of service does not come back by itself, however good its metrics."""

    ends_asking = True

    def ask(self, evidence: Evidence) -> list[RuleResult]:
        """Look at the version's mark."""
        version = evidence.version
        reason = version.tags.get(Tag.rolled_back)
        sentence = (
            "It was never rolled back."
            if reason is None
            else f"{version.title} was rolled back ({reason}); only `langmill promote --force` brings it back."
        )
        return [RuleResult("not rolled back", reason is None, None, None, sentence)]
