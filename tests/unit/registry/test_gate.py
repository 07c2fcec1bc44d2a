from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from langmill.data.document import Document, Split, documents_path
from langmill.errors import RegistryError, TrackingUnreachableError
from langmill.files import read_manifest, write_manifest
from langmill.registry import steps
from langmill.registry.rules import improvement
from langmill.registry.store import ModelRegistry
from langmill.registry.verdict import Verdict
from langmill.registry.versions import State, Tag
from tests.documents import write_documents
from tests.unit.registry.building import (
    URI,
    build_evaluation,
    build_model,
    recipe_of,
    registered,
)
from tests.unit.registry.judging import NAME, champion, in_this_process, judged, rescored

pytestmark = pytest.mark.unit


# A first version


def test_a_first_version_must_beat_the_trivial_baseline(workspace: Path) -> None:
    verdict = judged(registered(workspace, NAME, seed=1, factor=0.5))
    assert verdict.outcome == "passed"
    assert verdict.against == "the baseline unigram"
    assert "against 2.6" in verdict.sentence
    assert [rule.name for rule in verdict.rules] == ["validation", "not rolled back", "test documents", "improvement"]
    assert Verdict.of(ModelRegistry(URI).version(NAME, 1)) == verdict


def test_a_first_version_that_does_not_is_refused(workspace: Path) -> None:
    verdict = judged(registered(workspace, NAME, seed=1, factor=1.0))
    assert verdict.outcome == "refused"
    assert "worse by 1.3" in verdict.sentence
    promotion = steps.promote_if_passed(ModelRegistry(URI).version(NAME, 1), verdict, URI, "test")
    assert not promotion.moved
    assert promotion.sentence.endswith("There is no champion.")
    assert ModelRegistry(URI).champion(NAME) is None


# Challenger against champion


def test_a_better_challenger_passes_and_a_worse_one_is_refused(workspace: Path) -> None:
    champion(registered(workspace, NAME, seed=1, factor=1.0))
    better = judged(registered(workspace, NAME, seed=2, factor=0.9))
    assert (better.outcome, better.against, better.champion) == ("passed", "version 1", 1)
    worse = judged(registered(workspace, NAME, seed=3, factor=1.5))
    assert (worse.outcome, worse.against) == ("refused", "version 1")
    assert "worse by" in worse.sentence


def test_the_champion_itself_is_nothing_to_judge(workspace: Path) -> None:
    version = registered(workspace, NAME, seed=1, factor=1.0)
    champion(version)
    verdict = judged(version)
    assert (verdict.outcome, verdict.rules) == ("unchanged", ())
    weights = version.tags[Tag.weights][:12]
    assert verdict.sentence == (
        f"reviews-lm version 1 is the champion already (weights {weights}, champion's {weights})."
    )


def test_the_same_question_is_not_computed_twice(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = registered(workspace, NAME, seed=1, factor=0.5)
    first = judged(version)
    monkeypatch.setattr(improvement, "compare", lambda *arguments: pytest.fail("computed again"))
    assert judged(version) == first
    recipe = recipe_of(NAME)
    recipe.gate.rules["improvement"] = {"min_effect": 0.1}
    with pytest.raises(BaseException, match="computed again"):
        judged(version, recipe)


def test_a_champion_of_another_protocol_is_scored_anew(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = registered(workspace, NAME, seed=1, factor=1.0)
    champion(old)
    ModelRegistry(URI).note(old, {Tag.protocol: "another"})
    scored = in_this_process(monkeypatch)
    verdict = judged(registered(workspace, NAME, seed=2, factor=0.9))
    assert scored == ["reviews-lm version 1"]
    assert verdict.outcome == "passed"


def test_a_champion_is_scored_anew_once_and_in_a_process_of_its_own(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = registered(workspace, NAME, seed=1, factor=1.0)
    champion(old)
    better = registered(workspace, NAME, seed=2, factor=0.5)
    assert rescored(better) == steps.Rescored(needed=False)  # the stored scores fit
    ModelRegistry(URI).note(old, {Tag.protocol: "another"})
    assert steps.judge_version(recipe_of(NAME), better, URI).outcome == "cannot tell"
    assert rescored(better) == steps.Rescored(needed=True)
    assert judged(better).outcome == "passed"
    later = registered(workspace, NAME, seed=3, factor=0.9)
    assert rescored(later) == steps.Rescored(needed=False)  # whoever the challenger is
    in_this_process(monkeypatch)
    kept = workspace / ".langmill/rescored" / NAME
    assert len(list(kept.iterdir())) == 1
    ModelRegistry(URI).note(old, {Tag.weights: "others"})  # as if another version were champion
    assert rescored(later) == steps.Rescored(needed=True)
    assert len(list(kept.iterdir())) == 1  # nobody asks for the former ones again
    shutil.rmtree(kept)
    ModelRegistry(URI).note(later, {Tag.rolled_back: "it swears"})
    assert rescored(later) == steps.Rescored(needed=False)  # that one is refused anyway


def test_models_that_can_not_be_compared_are_told_apart_by_nobody(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_this_process(monkeypatch)
    old = registered(workspace, NAME, seed=1, factor=1.0)
    champion(old)
    ModelRegistry(URI).note(old, {Tag.protocol: "another"})
    folder = workspace / "build" / "documents" / recipe_of(NAME).corpus.name
    write_documents(documents_path(folder, Split.test), [Document("x", "A text.", metadata={"source": "imdb"})])
    version = registered(workspace, NAME, seed=2, factor=0.9)
    verdict = judged(version)
    assert verdict.outcome == "cannot tell"
    assert "are not those that reviews-lm version 2 was judged on; run `dvc repro`" in verdict.sentence
    promotion = steps.promote_if_passed(ModelRegistry(URI).version(NAME, 2), verdict, URI, "test")
    assert not promotion.moved and promotion.sentence.endswith("Version 1 stays the champion.")


# What figures do not help


def test_a_version_that_failed_validation_is_refused_whatever_its_figures(workspace: Path) -> None:
    version = registered(workspace, NAME, seed=1, factor=0.5)
    ModelRegistry(URI).note(version, {Tag.state: State.rejected, Tag.reason: "Its logits differ."})
    verdict = judged(version)
    assert verdict.outcome == "refused"
    assert verdict.sentence == "reviews-lm version 1 did not pass validation: Its logits differ."
    ModelRegistry(URI).note(version, {Tag.state: State.registered})
    assert judged(version).outcome == "cannot tell"  # it may still be validated
    ModelRegistry(URI).note(version, {Tag.state: State.validated})
    assert judged(version).outcome == "passed"


def test_a_damaged_evaluation_is_not_judged_by(workspace: Path) -> None:
    version = registered(workspace, NAME, seed=1, factor=0.5)
    more = workspace / "build/evaluation" / NAME / "more"
    shutil.copy(workspace / "build/evaluation" / NAME / "metrics.json", more)
    verdict = judged(version)
    assert verdict.outcome == "cannot tell"
    assert "more differ" in verdict.sentence and "asked again at the next run" in verdict.sentence
    more.unlink()
    assert judged(ModelRegistry(URI).version(NAME, 1)).outcome == "passed"  # what could not be told does not stand


# Whatever happened to the champion


def test_the_same_weights_gain_exactly_nothing_scored_again_or_not(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_this_process(monkeypatch)
    build_model(workspace, NAME, 1)
    build_evaluation(workspace, NAME)
    old = steps.package_and_register(recipe_of(NAME), URI).version
    champion(old)
    folder = workspace / "build/models" / NAME
    facts = read_manifest(folder, verify=False)
    write_manifest(folder, {**facts, "provenance": "cd" * 32})  # the same weights of another provenance
    build_evaluation(workspace, NAME)
    new = steps.package_and_register(recipe_of(NAME), URI).version
    assert (new.version, new.tags[Tag.weights]) == (2, old.tags[Tag.weights])
    ModelRegistry(URI).note(new, {Tag.state: State.validated})
    for protocol in (old.tags[Tag.protocol], "another"):
        ModelRegistry(URI).note(old, {Tag.protocol: protocol})
        ModelRegistry(URI).unnote(ModelRegistry(URI).version(NAME, 2), Tag.verdict)
        verdict = judged(new)
        assert verdict.outcome == "refused"
        assert "better by 0, 95% interval of the gain [0, 0]" in verdict.sentence
        assert "Both have the same weights." in verdict.sentence
        assert verdict.rules[-1].value == 0.0
        assert verdict.weights == verdict.champion_weights == old.tags[Tag.weights]
        assert f"weights {verdict.weights[:12]}, champion's {verdict.weights[:12]}" in verdict.markdown()


def test_an_old_champion_without_a_protocol_is_scored_again(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = registered(workspace, NAME, seed=1, factor=1.0)
    champion(old)
    ModelRegistry(URI).unnote(old, Tag.protocol)
    scored = in_this_process(monkeypatch)
    assert judged(registered(workspace, NAME, seed=2, factor=0.9)).outcome == "passed"
    assert scored == ["reviews-lm version 1"]


@pytest.mark.parametrize("part", ["model", "evaluation"])
def test_a_damaged_champion_ends_nothing(workspace: Path, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    old = registered(workspace, NAME, seed=1, factor=1.0)
    champion(old)
    new = registered(workspace, NAME, seed=2, factor=0.9)
    stored = Path(ModelRegistry(URI).location(NAME, 1).removeprefix("file://"), "artifacts", part, "manifest.json")
    stored.unlink()
    if part == "evaluation":  # its scores can be made again
        scored = in_this_process(monkeypatch)
        assert judged(new).outcome == "passed"
        assert scored == ["reviews-lm version 1"]
    else:
        in_this_process(monkeypatch)
        assert judged(new).outcome == "passed"  # the stored scores are enough
        ModelRegistry(URI).note(old, {Tag.protocol: "another"})
        ModelRegistry(URI).unnote(ModelRegistry(URI).version(NAME, 2), Tag.verdict)
        verdict = judged(new)
        assert verdict.outcome == "cannot tell"
        assert verdict.sentence.startswith(
            "The gate cannot tell whether reviews-lm version 2 is better than version 1: "
        )


def test_a_champion_that_is_not_sure_is_told(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = registered(workspace, NAME, seed=1, factor=0.5)

    def unsure(*arguments: object) -> None:
        raise RegistryError("The registry and the ledger disagree.")

    monkeypatch.setattr(ModelRegistry, "champion", unsure)
    verdict = judged(version)
    assert verdict.outcome == "cannot tell"
    assert "The registry and the ledger disagree." in verdict.sentence


def test_a_registry_that_is_gone_is_an_error_that_may_pass(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    champion(registered(workspace, NAME, seed=1, factor=1.0))
    version = registered(workspace, NAME, seed=2, factor=0.9)

    def gone(*arguments: object) -> None:
        raise TrackingUnreachableError("It does not answer.")

    monkeypatch.setattr(ModelRegistry, "download_evaluation", gone)
    with pytest.raises(TrackingUnreachableError):
        judged(version)
