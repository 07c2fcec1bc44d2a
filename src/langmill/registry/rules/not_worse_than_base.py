"""The rule that tuning did not make the model worse than what it was tuned from."""

from __future__ import annotations

from langmill.evaluation.significance import compare, find_metric
from langmill.registry.evidence import Evidence, available
from langmill.registry.rules.base import RULES, Rule
from langmill.registry.verdict import RuleResult

_NAME = "not worse than its base"


@RULES.register("not_worse_than_base")
class NotWorseThanBase(Rule):
    """The version is not clearly worse than its base as it came, where that could do the same before it was tuned.

    To be clearly better is not asked: the base as it came may be the first version, and a tuned one then has to beat it
    as a champion. Where it is not clearly better, the verdict says so.
    """

    def ask(self, evidence: Evidence) -> list[RuleResult]:
        """Compare the two; nothing is asked of a version without such a base."""
        if evidence.base is None:
            return []
        pair = available(evidence.base)
        metric = find_metric(pair.scorer, evidence.metric)
        found = compare(pair.scorer, pair.challenger, pair.other, evidence.metric, evidence.evaluation)
        gain, base = found.improvement, f"its base {evidence.base_name} as it came"
        sentence = f"{found.in_words(metric.title, base)}."
        if gain.high < 0:
            return [RuleResult(_NAME, False, gain.high, 0.0, f"Tuning made it worse: {sentence}")]
        remark = "" if found.beats(0.0) else f"Tuning brought no clear gain: {sentence}"
        return [RuleResult(_NAME, True, gain.high, 0.0, sentence, remark)]
