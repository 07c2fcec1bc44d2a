from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from langmill.data.document import Document, Split, documents_path, write_documents
from langmill.errors import EvaluationError
from langmill.evaluation.significance import Comparison, Estimate
from langmill.registry import gate, steps
from langmill.registry.gate import Rule, Verdict, improvement_rule
from langmill.registry.store import CHAMPION, ModelVersion, Registry, State, Tag
from tests.unit.registry.building import LANGUAGE_MODEL, URI, recipe_of, registered

pytestmark = pytest.mark.unit
NAME = LANGUAGE_MODEL


def comparison(low: float, value: float, high: float) -> Comparison:
    return Comparison("accuracy", 0.9, 0.9 - value, Estimate(value, low, high), 0.01, 1500)


def judged(version: ModelVersion) -> Verdict:
    return steps.judge_version(recipe_of(NAME), version, URI)


def champion(version: ModelVersion) -> None:
    Registry(URI).move_alias(NAME, CHAMPION, version.version, None)


# Rules


def test_the_whole_interval_must_lie_beyond_the_effect() -> None:
    kept = improvement_rule(comparison(0.011, 0.02, 0.03), 0.01, "Accuracy", "version 2", 0.95)
    assert kept == Rule(
        "improvement", True, 0.011, 0.01,
        "Accuracy is 0.9 against 0.88 of version 2: better by 0.02, 95% interval of the gain [0.011, 0.03] on 1,500 "
        "test documents; all of it must be above 0.01.",
    )  # fmt: skip
    missed = improvement_rule(comparison(0.004, 0.02, 0.03), 0.01, "Accuracy", "version 2", 0.95)
    assert not missed.passed
    assert missed.sentence.endswith("all of it must be above 0.01, which its lower end misses by 0.006.")
    equal = improvement_rule(comparison(0.01, 0.02, 0.03), 0.01, "Accuracy", "version 2", 0.95)
    assert not equal.passed
    worse = improvement_rule(comparison(-0.03, -0.02, -0.01), 0.0, "Accuracy", "version 2", 0.95)
    assert "worse by 0.02," in worse.sentence


def test_a_verdict_survives_being_written_down() -> None:
    rules = (Rule("validation", True, None, None, "It loads."), Rule("improvement", False, -0.1, 0.0, "It is worse."))
    verdict = Verdict(NAME, 3, "version 2", 2, "d" * 64, False, rules)
    assert Verdict.from_json(verdict.to_json()) == verdict
    assert (verdict.passed, verdict.outcome, verdict.sentence) == (False, "refused", "It is worse.")
    assert verdict.to_json()["outcome"] == "refused"
    assert verdict.markdown() == (
        "### reviews-lm version 3: refused\n\nIt is worse.\n\n"
        "| rule | kept | value | must be above |\n|---|---|---:|---:|\n"
        "| validation | yes |  |  |\n| improvement | **no** | -0.1 | 0 |\n"
    )


# A first version


def test_a_first_version_must_beat_the_trivial_baseline(workspace: Path) -> None:
    verdict = judged(registered(workspace, NAME, seed=1, factor=0.5))
    assert verdict.outcome == "passed"
    assert verdict.against == "the baseline unigram"
    assert "against 2.6" in verdict.sentence
    assert [rule.name for rule in verdict.rules] == ["validation", "not rolled back", "improvement"]
    assert Verdict.of(Registry(URI).version(NAME, 1)) == verdict


def test_a_first_version_that_does_not_is_refused(workspace: Path) -> None:
    verdict = judged(registered(workspace, NAME, seed=1, factor=1.0))
    assert verdict.outcome == "refused"
    assert "worse by 1.3" in verdict.sentence
    promotion = steps.promote_if_passed(Registry(URI).version(NAME, 1), verdict, URI, "test")
    assert not promotion.moved
    assert promotion.sentence.endswith("There is no champion.")
    assert Registry(URI).champion(NAME) is None


# Challenger against champion


def test_a_better_challenger_passes_and_a_worse_one_is_refused(workspace: Path) -> None:
    champion(registered(workspace, NAME, seed=1, factor=1.0))
    better = judged(registered(workspace, NAME, seed=2, factor=0.9))
    assert (better.outcome, better.against, better.champion) == ("passed", "version 1", 1)
    worse = judged(registered(workspace, NAME, seed=3, factor=1.5))
    assert (worse.outcome, worse.against) == ("refused", "version 1")
    assert "worse by" in worse.sentence


def test_an_equal_challenger_is_refused(workspace: Path) -> None:
    champion(registered(workspace, NAME, seed=1, factor=1.0))
    assert judged(registered(workspace, NAME, seed=2, factor=1.0)).outcome == "refused"


def test_the_champion_itself_is_nothing_to_judge(workspace: Path) -> None:
    version = registered(workspace, NAME, seed=1, factor=1.0)
    champion(version)
    verdict = judged(version)
    assert (verdict.outcome, verdict.rules) == ("unchanged", ())
    assert verdict.sentence == "reviews-lm version 1 is the champion already."


def test_the_same_question_is_not_computed_twice(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = registered(workspace, NAME, seed=1, factor=0.5)
    first = judged(version)
    monkeypatch.setattr(gate, "compare", lambda *arguments: pytest.fail("computed again"))
    assert judged(version) == first
    recipe = recipe_of(NAME)
    recipe.gate.min_effect = 0.1
    with pytest.raises(BaseException, match="computed again"):
        steps.judge_version(recipe, version, URI)


def test_a_minimum_effect_is_asked_for(workspace: Path) -> None:
    champion(registered(workspace, NAME, seed=1, factor=1.0))
    recipe = recipe_of(NAME)
    recipe.gate.min_effect = 10.0
    verdict = steps.judge_version(recipe, registered(workspace, NAME, seed=2, factor=0.9), URI)
    assert verdict.outcome == "refused"
    assert "all of it must be above 10" in verdict.sentence


def test_a_champion_of_another_test_set_is_scored_anew(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = registered(workspace, NAME, seed=1, factor=1.0)
    champion(old)
    Registry(URI).note(old, {Tag.test_set: "another"})
    scored = []
    score = gate.score_model
    monkeypatch.setattr(gate, "score_model", lambda *arguments: scored.append(1) or score(*arguments))
    verdict = judged(registered(workspace, NAME, seed=2, factor=0.9))
    assert scored == [1]
    assert verdict.outcome == "passed"


def test_models_that_can_not_be_compared_are_an_error(workspace: Path) -> None:
    old = registered(workspace, NAME, seed=1, factor=1.0)
    champion(old)
    Registry(URI).note(old, {Tag.test_set: "another"})
    folder = workspace / "build" / "documents" / recipe_of(NAME).corpus.name
    write_documents(documents_path(folder, Split.test), [Document("x", "A text.", metadata={"source": "imdb"})])
    with pytest.raises(EvaluationError, match="of other test sets"):
        judged(registered(workspace, NAME, seed=2, factor=0.9))


# What figures do not help


def test_a_version_that_failed_validation_is_refused_whatever_its_figures(workspace: Path) -> None:
    version = registered(workspace, NAME, seed=1, factor=0.5)
    Registry(URI).note(version, {Tag.state: State.rejected, Tag.reason: "Its logits differ."})
    verdict = judged(version)
    assert verdict.outcome == "refused"
    assert verdict.sentence == "reviews-lm version 1 did not pass validation: Its logits differ."
    Registry(URI).note(version, {Tag.state: State.validated})
    assert judged(version).outcome == "passed"


def test_a_version_that_was_rolled_back_is_not_promoted_again(workspace: Path) -> None:
    version = registered(workspace, NAME, seed=1, factor=0.5)
    Registry(URI).note(version, {Tag.rolled_back: "it swears"})
    verdict = judged(version)
    assert verdict.outcome == "refused"
    assert "was rolled back by hand (it swears)" in verdict.sentence


def test_a_damaged_evaluation_is_not_judged_by(workspace: Path) -> None:
    version = registered(workspace, NAME, seed=1, factor=0.5)
    shutil.copy(workspace / "build/evaluation" / NAME / "metrics.json", workspace / "build/evaluation" / NAME / "more")
    with pytest.raises(Exception, match="more differ"):
        judged(version)
