"""The rule that there are test documents, and groups of them, to tell skill from luck by."""

from __future__ import annotations

from pydantic import PositiveInt

from langmill.config.typed import settings
from langmill.evaluation.estimates import counted
from langmill.evaluation.significance import comparable, groups_of, num_measured
from langmill.registry.evidence import Evidence, available
from langmill.registry.rules.base import RULES, Rule
from langmill.registry.verdict import RuleResult

_SETTING = "gate.rules.enough_documents"


@settings
class EnoughDocumentsOptions:
    """The least numbers of what a judgement is made on."""

    min_documents: PositiveInt
    """Test documents, at the least."""
    min_groups: PositiveInt
    """Groups of test documents (those that split.by keeps together), at the least; where nothing is kept together each
    document is its own."""


@RULES.register("enough_documents")
class EnoughDocuments(Rule):
    """Enough documents were scored, and enough of those can be compared."""

    options_class = EnoughDocumentsOptions
    ends_asking = True

    def ask(self, evidence: Evidence) -> list[RuleResult]:
        """Count what the version was scored on; where that is enough, what it can be compared on, if it is not."""
        scored = available(evidence.scored)
        found = self.count(scored.documents, scored.groups, scored.group_by)
        if all(result.passed for result in found):
            pair = available(evidence.pair)
            mine, _ = comparable(pair.scorer, pair.challenger, pair.other, evidence.metric)
            left_out = num_measured(pair.scorer, pair.challenger, evidence.metric) - mine.num_rows
            compared = self.count(mine.num_rows, groups_of(mine)[1], scored.group_by, left_out)
            found += [result for result in compared if not result.passed]
        return found

    def count(self, documents: int, groups: int, group_by: str | None, left_out: int = 0) -> list[RuleResult]:
        """Compare what there is to judge by with the least numbers.

        `group_by` is the metadata field that makes the groups, None where each document is its own; of `left_out`
        documents besides the two models read other parts.
        """
        compared, remedy = "", "add documents"
        if left_out:
            compared, remedy = "compared ", "give both models the same training.block_length, add documents"
        left = f" to compare on ({left_out:,} left out, since the two can read other parts of them)" if left_out else ""
        least = self.options.min_documents
        missing = least - documents
        sentence = f"There are {counted(documents, documents)}{left}; {_SETTING}.min_documents asks for {least:,}"
        if missing > 0:
            sentence += f", so {missing:,} are missing: {remedy}, or raise split.test of the corpus"
        found = [RuleResult(f"{compared}test documents", missing <= 0, documents, least, f"{sentence}.")]
        if groups < documents or group_by is not None:
            least = self.options.min_groups
            missing = least - groups
            sentence = (
                f"The {counted(documents, documents)}{left} are in {groups:,} groups (split.by is {group_by}); "
                f"{_SETTING}.min_groups asks for {least:,}"
            )
            if missing > 0:
                sentence += f", so {missing:,} are missing: {remedy} of other groups, or raise split.test of the corpus"
            found.append(RuleResult(f"groups of {compared}test documents", missing <= 0, groups, least, f"{sentence}."))
        return found
