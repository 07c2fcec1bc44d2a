"""The gate's rules: plain functions over the evidence, in the order in which they are asked.

A rule that was not kept, or could not be told, ends the asking: the later ones would judge by what it found wanting.
"""

from __future__ import annotations

import pyarrow as pa

from langmill.config.sections import Gate
from langmill.evaluation.significance import Comparison, compare, counted, find_metric, groups_of
from langmill.registry.evidence import Evidence
from langmill.registry.verdict import Rule
from langmill.registry.versions import ModelVersion, State, Tag


def validated(version: ModelVersion) -> Rule:
    """The rule that the version passed validation in a process of its own."""
    passed = {State.validated: True, State.rejected: False}.get(version.state)  # None: not yet, or it could not tell
    told = (
        "It loads, answers and says what the trained model says."
        if passed
        else f"{version.title} did not pass validation: {version.tags.get(Tag.reason, 'it was not validated yet.')}"
    )
    return Rule("validation", passed, None, None, told)


def not_rolled_back(version: ModelVersion) -> Rule:
    """The rule that nobody rolled the version back."""
    reason = version.tags.get(Tag.rolled_back)
    told = (
        "It was never rolled back."
        if reason is None
        else f"{version.title} was rolled back by hand ({reason}); only `langmill promote --force` brings it back."
    )
    return Rule("not rolled back", reason is None, None, None, told)


def enough_documents(evidence: Evidence) -> list[Rule]:
    """`enough_rules` of what the version was scored on."""
    challenger = evidence.challenger
    scores = challenger.scores()
    return enough_rules(scores.num_rows, groups_of(scores)[1], evidence.gate, challenger.group_by)


def improvement(evidence: Evidence) -> list[Rule]:
    """The rule that the version is better, with the part that both can judge told besides.

    Before it stand the least numbers that a comparison on fewer documents than were scored does not reach.
    """
    pair, against = evidence.pair, evidence.against
    title = find_metric(pair.scorer, evidence.gate.metric).title
    found = compare(pair.scorer, pair.challenger, pair.other, evidence.gate.metric, evidence.evaluation)
    weights = evidence.version.tags.get(Tag.weights)
    same = evidence.champion is not None and evidence.champion.tags.get(Tag.weights) == weights
    more = " Both have the same weights." if same else ""
    if pair.common is not None:
        more += f" That is on the union, where what a model can't say is wrong: {pair.difference}."
        mine, other = (table.filter(pa.array(pair.common)) for table in (pair.challenger, pair.other))
        if mine.num_rows:
            part = compare(pair.scorer, mine, other, evidence.gate.metric, evidence.evaluation)
            more += f" On the part that both can judge, {in_words(part, title, against)}."
        else:
            more += " There is no document that both can judge."
    enough = enough_rules(found.examples, found.groups, evidence.gate, evidence.challenger.group_by, found.left_out)
    return [
        *(rule for rule in enough if not rule.passed),
        improvement_rule(found, evidence.gate.min_effect, title, against, more),
    ]


def enough_rules(examples: int, groups: int, gate: Gate, group_by: str | None, left_out: int = 0) -> list[Rule]:
    """The rules that there are documents, and groups of them, to tell skill from luck by.

    Args:
        examples: Documents to judge by.
        groups: Groups that they are in.
        gate: The least numbers.
        group_by: The metadata field that makes the groups; None where each document is its own.
        left_out: Documents besides, of which the two models read other parts.
    """
    compared, remedy = "", "add documents"
    if left_out:
        compared, remedy = "compared ", "give both models the same training.block_length, add documents"
    left = f" to compare on ({left_out:,} left out, since the two can read other parts of them)" if left_out else ""
    missing = gate.min_documents - examples
    told = f"There are {counted(examples, examples)}{left}; gate.min_documents asks for {gate.min_documents:,}"
    if missing > 0:
        told += f", so {missing:,} are missing: {remedy}, or raise split.test of the corpus"
    rules = [Rule(f"{compared}test documents", missing <= 0, examples, gate.min_documents, f"{told}.")]
    if groups < examples or group_by is not None:
        missing = gate.min_groups - groups
        told = (
            f"The {counted(examples, examples)}{left} are in {groups:,} groups (split.by is {group_by}); "
            f"gate.min_groups asks for {gate.min_groups:,}"
        )
        if missing > 0:
            told += f", so {missing:,} are missing: {remedy} of other groups, or raise split.test of the corpus"
        rules.append(Rule(f"groups of {compared}test documents", missing <= 0, groups, gate.min_groups, f"{told}."))
    return rules


def improvement_rule(found: Comparison, min_effect: float, title: str, against: str, more: str = "") -> Rule:
    """The rule that the whole interval of the paired difference lies beyond the minimum effect, and not by luck.

    Args:
        found: The difference.
        min_effect: The least effect, in the metric's unit.
        title: The metric, as a person reads it.
        against: What the version was compared with.
        more: What else to say of the comparison.
    """
    gain = found.improvement
    told = f"{in_words(found, title, against)}; all of it must be above {min_effect:g}"
    if gain.low <= min_effect:
        told += f", which its lower end misses by {min_effect - gain.low:.4g}"
    elif not found.beats(min_effect):
        told += (
            f", which it is, but two models that are alike differ as much in {found.p_value:.2%} of cases, "
            f"and {found.level:.2%} is the most"
        )
    return Rule("improvement", found.beats(min_effect), gain.low, min_effect, f"{told}.{more}")


def in_words(found: Comparison, title: str, against: str) -> str:
    """A comparison as a clause."""
    gain = found.improvement
    direction = "worse" if gain.value < 0 else "better"
    return (
        f"{title} is {found.challenger:.4g} against {found.champion:.4g} of {against}: {direction} by "
        f"{abs(gain.value):.4g}, {found.confidence:.0%} interval of the gain [{gain.low:.4g}, {gain.high:.4g}] "
        f"on {found.counted}"
    )
