"""The rule that the version is better, by enough to matter and not by luck."""

from __future__ import annotations

import pyarrow as pa
from pydantic import NonNegativeFloat

from langmill.config.typed import settings
from langmill.evaluation.estimates import Comparison
from langmill.evaluation.significance import compare, find_metric
from langmill.registry.evidence import Evidence, Pair, available
from langmill.registry.rules.base import RULES, Rule
from langmill.registry.verdict import RuleResult
from langmill.registry.versions import Tag


@settings
class ImprovementOptions:
    """The least gain."""

    min_effect: NonNegativeFloat
    """How much better than the champion (first version: than the trivial baseline) the version must be, in the
    metric's unit, at the least: the whole interval of the paired difference must lie beyond it."""


@RULES.register("improvement")
class Improvement(Rule):
    """The whole interval of the paired difference lies beyond the minimum effect, and chance seldom gives as much."""

    options_class = ImprovementOptions

    def ask(self, evidence: Evidence) -> list[RuleResult]:
        """Compare the two; where only a part can be judged by both, say what that part says."""
        pair, against = available(evidence.pair), evidence.against
        title = find_metric(pair.scorer, evidence.metric).title
        found = _compared(evidence, pair, pair.challenger, pair.other)
        champion = evidence.champion
        same = champion is not None and champion.tags.get(Tag.weights) == evidence.version.tags.get(Tag.weights)
        more = " Both have the same weights." if same else ""
        if pair.common is not None:
            more += f" That is on the union, where what a model can't say is wrong: {pair.difference}."
            mine, other = (table.filter(pair.common) for table in (pair.challenger, pair.other))
            if mine.num_rows:
                part = _compared(evidence, pair, mine, other)
                more += f" On the part that both can judge, {part.in_words(title, against)}."
            else:
                more += " There is no document that both can judge."
        return [self.decide(found, title, against, more)]

    def decide(self, found: Comparison, title: str, against: str, more: str = "") -> RuleResult:
        """Hold a comparison against the least effect; `more` is what else to say of it."""
        gain, min_effect = found.improvement, self.options.min_effect
        sentence = f"{found.in_words(title, against)}; all of it must be above {min_effect:g}"
        if gain.low <= min_effect:
            sentence += f", which its lower end misses by {min_effect - gain.low:.4g}"
        elif not found.beats(min_effect):
            sentence += (
                f", which it is, but two models that are alike differ as much in {found.p_value:.2%} of cases, "
                f"and {found.level:.2%} is the most"
            )
        return RuleResult("improvement", found.beats(min_effect), gain.low, min_effect, f"{sentence}.{more}")


def _compared(evidence: Evidence, pair: Pair, challenger: pa.Table, other: pa.Table) -> Comparison:
    return compare(pair.scorer, challenger, other, evidence.metric, evidence.evaluation)
