"""The verdict is a function of the evidence and the rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from langmill.config.sections import Evaluation, Gate
from langmill.errors import TrackingUnreachableError
from langmill.plugins import NoOptions
from langmill.registry.evidence import Evidence, Missing, Pair, Scored, Unscored
from langmill.registry.gate import judge
from langmill.registry.rules.base import Rule, build_rules
from langmill.registry.verdict import RuleResult, Verdict
from langmill.registry.versions import ModelVersion, State, Tag
from tests.unit.tasks.settings import shipped_scorer

pytestmark = pytest.mark.unit
OPTIONS = {"enough_documents": {"min_documents": 30, "min_groups": 10}, "improvement": {"min_effect": 0.01}}
GATE = Gate("accuracy", {"validation": {}, "not_rolled_back": {}, **OPTIONS})
LABELS = ("bad", "good", "so-so")
SCORER = shipped_scorer("classification", LABELS)


def version(number: int, **tags: str) -> ModelVersion:
    return ModelVersion(
        "mood", number, (), "", None, {Tag.state: State.validated, **tags}, datetime(2026, 1, 1, tzinfo=UTC)
    )


def answers(right: int, documents: int = 40) -> pa.Table:
    """Scores of a model that answers the last documents wrongly."""
    labels = [LABELS[number % 2] for number in range(documents)]
    predicted = [label if number < right else LABELS[2] for number, label in enumerate(labels)]
    names = [f"d{number}" for number in range(documents)]
    return pa.table(
        {"id": names, "label": labels, "predicted": predicted, **{f"p_{n}": [0.3] * documents for n in range(3)}}
    )


def evidence(right: int = 40, **changes: Any) -> Evidence:
    """A version that answers some of 40 documents rightly, and a champion that answers 20."""
    found = Evidence(
        version(2),
        version(1),
        "accuracy",
        Evaluation(4096, 100, 0.95, 1, [], 1, None, None),
        Scored(40, 40, None, {}, "majority"),
        Pair(SCORER, answers(right), answers(20)),
        "key",
    )
    return replace(found, **changes)


def asked(found: Evidence, gate: Gate = GATE) -> Verdict:
    return judge(found, build_rules(gate, "test.yaml"))


def on_the_union(new: int, old: int, difference: str) -> Pair:
    """Eight of forty documents are of a label that one of the two does not know."""
    return Pair(SCORER, answers(new), answers(old), pa.array([number < 32 for number in range(40)]), difference)


PASSED, REFUSED, CANNOT_TELL = "passed", "refused", "cannot tell"


@pytest.mark.parametrize(
    ("found", "outcome", "words"),
    [
        (evidence(), PASSED, "Accuracy is 1 against 0.5 of version 1: better by 0.5, 95% interval of the gain ["),
        (evidence(20), REFUSED, "better by 0, 95% interval of the gain [0, 0] on 40 test documents; all of it must be"),
        (evidence(10), REFUSED, "worse by 0.25,"),
        (evidence(champion=None), PASSED, "against 0.5 of the baseline majority: better"),
        (evidence(version=version(2, **{Tag.weights: "ab"}), champion=version(1, **{Tag.weights: "ab"})), PASSED,
         "Both have the same weights."),
        # What no metric helps
        (evidence(version=version(2, **{Tag.state: State.rejected, Tag.reason: "It is slow."})), REFUSED,
         "mood version 2 did not pass validation: It is slow."),
        (evidence(version=version(2, **{Tag.state: State.registered})), CANNOT_TELL, "it was not validated yet."),
        (evidence(version=version(2, **{Tag.rolled_back: "it swears"})), REFUSED, "rolled back (it swears)"),
        (evidence(scored=Scored(27, 27, None, {}, "majority")), REFUSED,
         "There are 27 test documents; gate.rules.enough_documents.min_documents asks for 30, so 3 are missing"),
        # What can't be compared
        (evidence(scored=Missing("a.parquet differs."), pair=Missing("a.parquet differs.")), CANNOT_TELL,
         "The gate cannot tell whether mood version 2 is better than version 1: a.parquet differs. It is asked again"),
        (evidence(pair=Unscored("it was not scored again.")), CANNOT_TELL, "it was not scored again."),
        (evidence(pair=Missing("Perplexity counts tokens, and version 1 has another tokenizer.")), CANNOT_TELL,
         "another tokenizer"),
        (evidence(champion=None, doubt="Someone moved the alias."), CANNOT_TELL,
         "better than the champion: Someone moved the alias."),
        (evidence(pair=Pair(SCORER, answers(40), answers(20, 39))), CANNOT_TELL, "are of other test sets"),
        # Other labels
        (evidence(pair=on_the_union(40, 32, "the labels so-so are new")), PASSED,
         "what a model can't say is wrong: the labels so-so are new. On the part that both can judge, Accuracy is 1 "
         "against 1 of version 1: better by 0, 95% interval of the gain [0, 0] on 32 test documents."),
        (evidence(pair=on_the_union(32, 40, "the labels so-so are gone")), REFUSED, "the labels so-so are gone."),
        (evidence(scored=Scored(40, 40, None, {"sarcastic": 3}, "majority")), PASSED, "not judged: sarcastic (3)."),
    ],
)  # fmt: skip
def test_a_verdict_follows_from_the_evidence(found: Evidence, outcome: str, words: str) -> None:
    verdict = asked(found)
    assert verdict.outcome == outcome
    assert words in verdict.sentence
    assert verdict == asked(found)
    assert Verdict.from_json(verdict.to_json()) == verdict


@pytest.mark.parametrize(
    ("version", "base", "outcome", "words"),
    [
        (40, 20, PASSED, ""),
        (40, 39, PASSED, "Tuning brought no clear gain: Accuracy is 1 against 0.975 of its base smollm2 as it came"),
        (30, 40, REFUSED, "Tuning made it worse: Accuracy is 0.75 against 1 of its base smollm2 as it came"),
    ],
)
def test_a_model_that_tuning_made_worse_is_not_let_in(version: int, base: int, outcome: str, words: str) -> None:
    found = evidence(version, base=Pair(SCORER, answers(version), answers(base)), base_name="smollm2")
    gate = Gate("accuracy", {"not_worse_than_base": {}, **OPTIONS})
    verdict = asked(found, gate)
    assert verdict.outcome == outcome and words in verdict.sentence
    assert bool(words) == ("smollm2" in verdict.sentence)
    assert "not worse than its base" in [rule.name for rule in verdict.rules]
    assert Verdict.from_json(verdict.to_json()) == verdict
    assert asked(replace(found, base=Missing("base.parquet differs.")), gate).outcome == CANNOT_TELL


def test_a_label_that_the_champion_knows_is_no_unseen_one() -> None:
    assert not asked(evidence(scored=Scored(40, 40, None, {"so-so": 3}, "majority"))).notes


def test_the_champion_itself_is_asked_nothing() -> None:
    verdict = asked(evidence(champion=version(2), scored=Missing("nothing"), pair=Missing("nothing")))
    assert (verdict.outcome, verdict.rules) == ("unchanged", ())


@pytest.mark.parametrize(
    ("alike", "groups", "sentence"),
    [
        (
            20, 60,
            "There are 20 test documents to compare on (40 left out, since the two can read other parts of them); "
            "gate.rules.enough_documents.min_documents asks for 30, so 10 are missing: give both models the same "
            "training.block_length, add documents, or raise split.test of the corpus.",
        ),
        (
            40, 12,
            "The 40 test documents to compare on (20 left out, since the two can read other parts of them) are in 8 "
            "groups (split.by is None); gate.rules.enough_documents.min_groups asks for 10, so 2 are missing: give "
            "both models the same training.block_length, add documents of other groups, or raise split.test of the "
            "corpus.",
        ),
    ],
)  # fmt: skip
def test_the_least_numbers_are_of_what_is_compared_on(alike: int, groups: int, sentence: str) -> None:
    """Of some targets a model with a longer context reads more: these are not compared on."""

    def scores(nats: float, longer: int) -> pa.Table:
        return pa.table(
            {
                "id": [f"d{number}" for number in range(60)],
                "nats": [nats + number % 7 / 10 for number in range(60)],
                "tokens": [4] * 60,
                "bytes": [10] * alike + [10 + longer] * (60 - alike),
                "correct": [2] * 60,
                "group": [f"g{number * groups // 60}" for number in range(60)],
            }
        )

    pair = Pair(shipped_scorer("completion"), scores(1.0, 5), scores(4.0, 0))
    found = evidence(metric="bits_per_byte", scored=Scored(60, groups, None, {}, "unigram"), pair=pair)
    verdict = asked(found)
    assert (verdict.outcome, verdict.sentence) == ("refused", sentence)
    lenient = {"enough_documents": {"min_documents": 1, "min_groups": 1}}
    assert asked(found, replace(GATE, rules={**GATE.rules, **lenient})).passed  # better, if it were enough


# Rules ---------------------------------------------------------------------------------------------------------------


class Fixed(Rule):
    """A rule that finds what it is told to."""

    def __init__(self, found: RuleResult | Exception, *, ends_asking: bool = False) -> None:
        super().__init__(NoOptions())
        self.found = found
        self.ends_asking = ends_asking  # type: ignore[misc]

    def ask(self, evidence: Evidence) -> Sequence[RuleResult]:
        if isinstance(self.found, Exception):
            raise self.found
        return [self.found]


GOOD, BAD = RuleResult("good", True, 1.0, 0.0, "It is good."), RuleResult("bad", False, 0.0, 1.0, "It is bad.")


def test_every_rule_is_asked_until_one_ends_it() -> None:
    rules = {"first": Fixed(BAD), "second": Fixed(BAD, ends_asking=True), "third": Fixed(GOOD)}
    verdict = judge(evidence(), rules)
    assert verdict.rules == (BAD, BAD)
    assert verdict.sentence == "It is bad. It is bad."


def test_a_fault_of_a_rules_own_is_told_and_not_raised() -> None:
    verdict = judge(evidence(), {"my_rule": Fixed(ZeroDivisionError("division by zero")), "later": Fixed(BAD)})
    assert verdict.outcome == "cannot tell"
    assert [rule.name for rule in verdict.rules] == ["my rule"]
    assert "ZeroDivisionError: division by zero." in verdict.sentence


def test_what_may_pass_by_itself_is_raised() -> None:
    with pytest.raises(TrackingUnreachableError):
        judge(evidence(), {"my_rule": Fixed(TrackingUnreachableError("It does not answer."))})
