from __future__ import annotations

import copy
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
import sacrebleu

from langmill.config.sections import Gate
from langmill.data.document import Document, Split, documents_path, read_documents, write_documents
from langmill.errors import RegistryError, TrackingUnreachableError
from langmill.evaluation.scoring import usable
from langmill.evaluation.significance import Comparison, Estimate, compare
from langmill.files import read_manifest, write_manifest
from langmill.registry import gate, steps
from langmill.registry.gate import Rule, Verdict, enough_rules, improvement_rule
from langmill.registry.store import Registry
from langmill.registry.versions import CHAMPION, ModelVersion, State, Tag
from langmill.tasks.conditional_generation import ConditionalGeneration
from tests.unit.registry import building
from tests.unit.registry.building import (
    CLASSIFIER,
    LANGUAGE_MODEL,
    URI,
    build_evaluation,
    build_model,
    documents,
    recipe_of,
    registered,
    registered_classifier,
)
from tests.unit.tasks.settings import shipped_task

pytestmark = pytest.mark.unit
NAME = LANGUAGE_MODEL


def comparison(low: float, value: float, high: float) -> Comparison:
    return Comparison("accuracy", 0.9, 0.9 - value, Estimate(value, low, high), 0.01, 1500, 1500, 0.95)


def judged(version: ModelVersion) -> Verdict:
    return steps.judge_version(recipe_of(NAME), version, URI)


def scorings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The versions that the gate scores, as they are scored."""
    scored: list[str] = []
    score = gate._Case._score
    monkeypatch.setattr(
        gate._Case, "_score", lambda self, version, *rest: scored.append(version.title) or score(self, version, *rest)
    )
    return scored


def champion(version: ModelVersion) -> None:
    Registry(URI).move_alias(NAME, CHAMPION, version.version, None)


# Rules


def test_the_whole_interval_must_lie_beyond_the_effect() -> None:
    kept = improvement_rule(comparison(0.011, 0.02, 0.03), 0.01, "Accuracy", "version 2")
    assert kept == Rule(
        "improvement", True, 0.011, 0.01,
        "Accuracy is 0.9 against 0.88 of version 2: better by 0.02, 95% interval of the gain [0.011, 0.03] on 1,500 "
        "test documents; all of it must be above 0.01.",
    )  # fmt: skip
    missed = improvement_rule(comparison(0.004, 0.02, 0.03), 0.01, "Accuracy", "version 2")
    assert not missed.passed
    assert missed.sentence.endswith("all of it must be above 0.01, which its lower end misses by 0.006.")
    equal = improvement_rule(comparison(0.01, 0.02, 0.03), 0.01, "Accuracy", "version 2")
    assert not equal.passed
    worse = improvement_rule(comparison(-0.03, -0.02, -0.01), 0.0, "Accuracy", "version 2")
    assert "worse by 0.02," in worse.sentence


def test_a_verdict_survives_being_written_down() -> None:
    rules = (Rule("validation", True, None, None, "It loads."), Rule("improvement", False, -0.1, 0.0, "It is worse."))
    verdict = Verdict(NAME, 3, "version 2", 2, "d" * 64, False, rules)
    assert Verdict.from_json(verdict.to_json()) == verdict
    assert (verdict.passed, verdict.outcome, verdict.sentence) == (False, "refused", "It is worse.")
    assert verdict.to_json()["outcome"] == "refused"
    assert verdict.markdown() == (
        "### reviews-lm version 3: refused\n\nIt is worse.\n\n"
        "| rule | kept | value | must be above, or reach |\n|---|---|---:|---:|\n"
        "| validation | yes |  |  |\n| improvement | **no** | -0.1 | 0 |\n\n"
        "Compared by their weights not noted, champion's not noted.\n"
    )


# A first version


def test_a_first_version_must_beat_the_trivial_baseline(workspace: Path) -> None:
    verdict = judged(registered(workspace, NAME, seed=1, factor=0.5))
    assert verdict.outcome == "passed"
    assert verdict.against == "the baseline unigram"
    assert "against 2.6" in verdict.sentence
    assert [rule.name for rule in verdict.rules] == ["validation", "not rolled back", "test documents", "improvement"]
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
    weights = version.tags[Tag.weights][:12]
    assert verdict.sentence == (
        f"reviews-lm version 1 is the champion already (weights {weights}, champion's {weights})."
    )


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


def test_a_champion_of_another_protocol_is_scored_anew(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = registered(workspace, NAME, seed=1, factor=1.0)
    champion(old)
    Registry(URI).note(old, {Tag.protocol: "another"})
    scored = scorings(monkeypatch)
    verdict = judged(registered(workspace, NAME, seed=2, factor=0.9))
    assert scored == ["reviews-lm version 1"]
    assert verdict.outcome == "passed"


def test_models_that_can_not_be_compared_are_told_apart_by_nobody(workspace: Path) -> None:
    old = registered(workspace, NAME, seed=1, factor=1.0)
    champion(old)
    Registry(URI).note(old, {Tag.protocol: "another"})
    folder = workspace / "build" / "documents" / recipe_of(NAME).corpus.name
    write_documents(documents_path(folder, Split.test), [Document("x", "A text.", metadata={"source": "imdb"})])
    version = registered(workspace, NAME, seed=2, factor=0.9)
    verdict = judged(version)
    assert verdict.outcome == "cannot tell"
    assert "are not those that reviews-lm version 2 was judged on; run `dvc repro`" in verdict.sentence
    promotion = steps.promote_if_passed(Registry(URI).version(NAME, 2), verdict, URI, "test")
    assert not promotion.moved and promotion.sentence.endswith("Version 1 stays the champion.")


# What figures do not help


def test_a_version_that_failed_validation_is_refused_whatever_its_figures(workspace: Path) -> None:
    version = registered(workspace, NAME, seed=1, factor=0.5)
    Registry(URI).note(version, {Tag.state: State.rejected, Tag.reason: "Its logits differ."})
    verdict = judged(version)
    assert verdict.outcome == "refused"
    assert verdict.sentence == "reviews-lm version 1 did not pass validation: Its logits differ."
    Registry(URI).note(version, {Tag.state: State.registered})
    assert judged(version).outcome == "cannot tell"  # it may still be validated
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
    more = workspace / "build/evaluation" / NAME / "more"
    shutil.copy(workspace / "build/evaluation" / NAME / "metrics.json", more)
    verdict = judged(version)
    assert verdict.outcome == "cannot tell"
    assert "more differ" in verdict.sentence and "asked again at the next run" in verdict.sentence
    more.unlink()
    assert judged(Registry(URI).version(NAME, 1)).outcome == "passed"  # what could not be told does not stand


# Whatever happened to the champion


def test_the_same_weights_gain_exactly_nothing_scored_again_or_not(workspace: Path) -> None:
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
    Registry(URI).note(new, {Tag.state: State.validated})
    for protocol in (old.tags[Tag.protocol], "another"):
        Registry(URI).note(old, {Tag.protocol: protocol})
        Registry(URI).unnote(Registry(URI).version(NAME, 2), Tag.verdict)
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
    Registry(URI).unnote(old, Tag.protocol)
    scored = scorings(monkeypatch)
    assert judged(registered(workspace, NAME, seed=2, factor=0.9)).outcome == "passed"
    assert scored == ["reviews-lm version 1"]


@pytest.mark.parametrize("part", ["model", "evaluation"])
def test_a_damaged_champion_ends_nothing(workspace: Path, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    old = registered(workspace, NAME, seed=1, factor=1.0)
    champion(old)
    new = registered(workspace, NAME, seed=2, factor=0.9)
    stored = Path(Registry(URI)._location(NAME, 1).removeprefix("file://"), "artifacts", part, "manifest.json")
    stored.unlink()
    if part == "evaluation":  # its scores can be made again
        scored = scorings(monkeypatch)
        assert judged(new).outcome == "passed"
        assert scored == ["reviews-lm version 1"]
    else:
        assert judged(new).outcome == "passed"  # the stored scores are enough
        Registry(URI).note(old, {Tag.protocol: "another"})
        Registry(URI).unnote(Registry(URI).version(NAME, 2), Tag.verdict)
        verdict = judged(new)
        assert verdict.outcome == "cannot tell"
        assert verdict.sentence.startswith(
            "The gate cannot tell whether reviews-lm version 2 is better than version 1: "
        )


def test_a_champion_that_is_not_sure_is_told(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = registered(workspace, NAME, seed=1, factor=0.5)

    def unsure(*arguments: object) -> None:
        raise RegistryError("The registry and the ledger disagree.")

    monkeypatch.setattr(Registry, "champion", unsure)
    verdict = judged(version)
    assert verdict.outcome == "cannot tell"
    assert "The registry and the ledger disagree." in verdict.sentence


def test_a_fault_of_the_gates_own_is_told_and_not_raised(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = registered(workspace, NAME, seed=1, factor=0.5)
    monkeypatch.setattr(gate, "compare", lambda *arguments: 1 / 0)
    verdict = judged(version)
    assert verdict.outcome == "cannot tell"
    assert "ZeroDivisionError: division by zero." in verdict.sentence


def test_a_registry_that_is_gone_is_an_error_that_may_pass(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    champion(registered(workspace, NAME, seed=1, factor=1.0))
    version = registered(workspace, NAME, seed=2, factor=0.9)

    def gone(*arguments: object) -> None:
        raise TrackingUnreachableError("It does not answer.")

    monkeypatch.setattr(Registry, "download_evaluation", gone)
    with pytest.raises(TrackingUnreachableError):
        judged(version)


# Other labels, other documents, another tokenizer


def answered_rightly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every model that the gate scores answer with the right label where it knows it."""
    score = gate._Case._score

    def right(self: Any, version: ModelVersion, model: Any, task: Any, asked: Any) -> pa.Table:
        table = score(self, version, model, task, asked)
        known = [each.label if each.label in task.labels else task.labels[0] for each in asked]
        return table.set_column(table.column_names.index("predicted"), "predicted", pa.array(known, pa.string()))

    monkeypatch.setattr(gate._Case, "_score", right)


def third_label(some: list[Document]) -> list[Document]:
    """The same documents, every fifth of another label."""
    return [replace(each, label="so-so") if place % 5 == 0 else each for place, each in enumerate(some)]


def judged_classifier(version: ModelVersion, **options: object) -> Verdict:
    recipe = recipe_of(CLASSIFIER)
    recipe.task.options |= options
    return steps.judge_version(recipe, version, URI)


@pytest.fixture
def reviews(monkeypatch: pytest.MonkeyPatch) -> tuple[list[Document], list[Document]]:
    """Training and test documents for a classifier that takes all of them."""
    everything = recipe_of(CLASSIFIER)
    everything.task.options["only"] = {}
    monkeypatch.setattr(building, "recipe_of", lambda name: copy.deepcopy(everything))
    return documents(60), documents(100)[60:]


def test_a_new_label_is_judged_on_the_union(
    workspace: Path, reviews: tuple[list[Document], list[Document]], monkeypatch: pytest.MonkeyPatch
) -> None:
    train, test = reviews
    old = registered_classifier(workspace, seed=1, train=train, test=test, right=True)
    Registry(URI).move_alias(CLASSIFIER, CHAMPION, old.version, None)
    new = registered_classifier(workspace, seed=2, train=third_label(train), test=third_label(test), right=True)
    answered_rightly(monkeypatch)
    verdict = judged_classifier(new)
    assert verdict.outcome == "passed"
    assert "Accuracy is 1 against 0.8 of version 1: better by 0.2" in verdict.sentence  # 8 of 40 it can't say
    assert "the labels so-so are new, 8 documents are the version's alone, 0 the champion's." in verdict.sentence
    assert "On the part that both can judge, Accuracy is 1 against 1 of version 1: better by 0," in verdict.sentence
    assert "on 32 test documents." in verdict.sentence


def test_a_label_that_is_gone_counts_as_wrong(
    workspace: Path, reviews: tuple[list[Document], list[Document]], monkeypatch: pytest.MonkeyPatch
) -> None:
    train, test = reviews
    old = registered_classifier(workspace, seed=1, train=third_label(train), test=third_label(test), right=True)
    Registry(URI).move_alias(CLASSIFIER, CHAMPION, old.version, None)
    new = registered_classifier(workspace, seed=2, train=train, test=third_label(test), right=True)
    answered_rightly(monkeypatch)
    verdict = judged_classifier(new)
    assert verdict.outcome == "refused"
    assert "Accuracy is 0.8 against 1 of version 1: worse by 0.2" in verdict.sentence
    assert "the labels so-so are gone, 0 documents are the version's alone, 8 the champion's." in verdict.sentence
    assert "Accuracy is 1 against 1 of version 1: better by 0," in verdict.sentence
    assert not verdict.notes  # the champion knows the label, so it was judged


def test_a_label_that_only_the_test_split_has_is_told(
    workspace: Path, reviews: tuple[list[Document], list[Document]]
) -> None:
    train, test = reviews
    new = registered_classifier(workspace, seed=1, train=train, test=third_label(test), right=True)
    verdict = judged_classifier(new)
    assert verdict.outcome == "passed"
    assert verdict.sentence.endswith(
        "so-so (8). A model can't predict them; see that each label is in the training split."
    )


def test_another_selection_of_documents_is_judged_on_the_union(
    workspace: Path, reviews: tuple[list[Document], list[Document]], monkeypatch: pytest.MonkeyPatch
) -> None:
    train, test = reviews
    old = registered_classifier(workspace, seed=1, train=train, test=test, right=True)
    Registry(URI).move_alias(CLASSIFIER, CHAMPION, old.version, None)
    recipe = building.recipe_of(CLASSIFIER)
    recipe.task.options["only"] = {"source": ["imdb"]}
    monkeypatch.setattr(building, "recipe_of", lambda name: copy.deepcopy(recipe))
    new = registered_classifier(workspace, seed=2, train=train, test=test, right=True)
    answered_rightly(monkeypatch)
    verdict = judged_classifier(new)
    assert verdict.outcome == "refused"
    assert "on 40 test documents; " in verdict.sentence
    assert "0 documents are the version's alone, 8 the champion's." in verdict.sentence
    assert "on 32 test documents." in verdict.sentence


def test_bits_per_byte_are_compared_between_tokenizers_and_perplexity_is_not(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    champion(registered(workspace, NAME, seed=1, factor=1.0))
    tokenizer = workspace / "build/tokenizers" / recipe_of(NAME).tokenizer.name / "tokenizer.json"
    build_model(workspace, NAME, 2)
    folder = workspace / "build/models" / NAME
    (folder / "tokenizer.json").write_text(tokenizer.read_text() + "\n")  # other bytes, so another tokenizer
    facts = read_manifest(folder, verify=False)
    del facts["files"], facts["tokenizer_sha256"]  # which is that of the tokenizer it was trained with
    write_manifest(folder, facts)
    build_evaluation(workspace, NAME)
    version = steps.package_and_register(recipe_of(NAME), URI).version
    Registry(URI).note(version, {Tag.state: State.validated})
    assert judged(version).outcome in ("passed", "refused")
    recipe = recipe_of(NAME)
    for metric in ("perplexity", "next_token_accuracy"):
        recipe.gate.metric = metric
        verdict = steps.judge_version(recipe, Registry(URI).version(NAME, 2), URI)
        assert verdict.outcome == "cannot tell"
        assert "counts tokens, and version 1 has another tokenizer" in verdict.sentence or metric != "perplexity"


def test_other_options_of_judging_score_the_champion_by_them(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    champion(registered(workspace, NAME, seed=1, factor=1.0))
    recipe = recipe_of(NAME)
    recipe.task.options["context_overlap"] = 0.5
    monkeypatch.setattr(building, "recipe_of", lambda name: copy.deepcopy(recipe))
    build_model(workspace, NAME, 2)
    build_evaluation(workspace, NAME)
    version = steps.package_and_register(recipe, URI).version
    Registry(URI).note(version, {Tag.state: State.validated})
    taken = []
    score = gate._Case._score
    monkeypatch.setattr(
        gate._Case, "_score",
        lambda self, who, model, task, asked: taken.append(task.options) or score(self, who, model, task, asked),
    )  # fmt: skip
    assert judged(version).outcome in ("passed", "refused")
    (options,) = taken
    assert options.context_overlap == 0.5


# Enough documents


def test_too_few_documents_are_refused_and_the_missing_ones_counted(workspace: Path) -> None:
    recipe = recipe_of(NAME)
    recipe.gate.min_documents = 42
    verdict = steps.judge_version(recipe, registered(workspace, NAME, seed=1, factor=0.5), URI)
    assert verdict.outcome == "refused"
    assert verdict.sentence == (
        "There are 30 test documents; gate.min_documents asks for 42, so 12 are missing: add documents, or raise "
        "split.test of the corpus."
    )


def test_too_few_groups_are_refused_and_the_missing_ones_counted() -> None:
    gate = Gate("accuracy", 0.0, 30, 10)
    enough, missing = enough_rules(323, 4, gate, "work")
    assert enough.passed and not missing.passed
    assert missing.sentence == (
        "The 323 test documents are in 4 groups (split.by is work); gate.min_groups asks for 10, so 6 are missing: "
        "add documents of other groups, or raise split.test of the corpus."
    )
    assert [rule.passed for rule in enough_rules(323, 12, gate, "work")] == [True, True]
    assert [rule.passed for rule in enough_rules(30, 30, gate, None)] == [True]


@pytest.mark.parametrize(
    ("alike", "groups", "told"),
    [
        (
            20, 60,
            "There are 20 test documents to compare on (40 left out, since the two can read other parts of them); "
            "gate.min_documents asks for 30, so 10 are missing: give both models the same training.block_length, add "
            "documents, or raise split.test of the corpus.",
        ),
        (
            40, 12,
            "The 40 test documents to compare on (20 left out, since the two can read other parts of them) are in 8 "
            "groups (split.by is None); gate.min_groups asks for 10, so 2 are missing: give both models the same "
            "training.block_length, add documents of other groups, or raise split.test of the corpus.",
        ),
    ],
)  # fmt: skip
def test_the_least_numbers_are_of_what_is_compared_on(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, alike: int, groups: int, told: str
) -> None:
    """Of some targets a model with a longer context reads more: these are not compared on."""
    champion(registered(workspace, NAME, seed=1, factor=1.0))

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

    pair = gate._Pair(shipped_task("completion"), scores(1.0, 5), scores(4.0, 0))
    monkeypatch.setattr(gate._Case, "against_champion", lambda *arguments: pair)
    verdict = judged(registered(workspace, NAME, seed=2, factor=0.9))
    assert verdict.outcome == "refused"
    assert verdict.sentence == told
    assert verdict.rules[-1].passed  # better, if it were enough
    assert judged(Registry(URI).version(NAME, 2)) == verdict


def test_bleu_of_the_union_has_one_tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The version was judged on German alone (13a), the champion knows Chinese besides: of both together it is zh."""
    german = [
        Document(f"d{number}", "a", target=f"Der Film war {number} Mal gut, sehr gut!", metadata={"source": "de"})
        for number in range(6)
    ]
    chinese = [
        Document(f"z{number}", "b", target="床前明月光疑是地上霜。" * 4, metadata={"source": "zh"})
        for number in range(6)
    ]
    write_documents(documents_path(tmp_path, Split.test), german + chinese)
    old_task = shipped_task("text_to_text", metrics=["bleu"])
    task = shipped_task("text_to_text", metrics=["bleu"], only={"source": ["de"]})
    assert isinstance(task, ConditionalGeneration)

    def written(task: Any, some: list[Document]) -> pa.Table:
        return task._table(some, {}, [str(each.target)[:-2] for each in some])

    monkeypatch.setattr(gate._Case, "_load", lambda *arguments: None)
    monkeypatch.setattr(gate._Case, "_score", lambda self, version, model, task, some: written(task, some))
    challenger = SimpleNamespace(
        task=task, test_set=usable(task, german).digest, scores=lambda: written(task, german), group_by=None
    )
    case = gate._Case(
        None, None, None, challenger, Gate("bleu", 0.0, 1, 1), recipe_of(NAME).evaluation, tmp_path, "cpu"  # type: ignore[arg-type]
    )  # fmt: skip
    pair = case._scored_again(None, SimpleNamespace(task=old_task), tmp_path)  # type: ignore[arg-type]
    assert pair.challenger["bleu_tokenizer"].to_pylist() == ["zh"] * 12
    found = compare(pair.task, pair.challenger, pair.other, "bleu", recipe_of(NAME).evaluation)
    assert found.improvement == Estimate(0.0, 0.0, 0.0)  # both wrote the same
    targets = [str(each.target) for each in read_documents(documents_path(tmp_path, Split.test))]
    expected = sacrebleu.corpus_bleu([each[:-2] for each in targets], [targets], tokenize="zh").score
    assert found.challenger == pytest.approx(expected, abs=1e-9)


def test_the_groups_are_told(workspace: Path) -> None:
    found = Comparison("accuracy", 0.9, 0.8, Estimate(0.1, 0.05, 0.15), 0.01, 323, 12, 0.95)
    rule = improvement_rule(found, 0.0, "Accuracy", "version 2")
    assert "on 323 test documents in 12 groups; all of it must be above 0." in rule.sentence


def test_a_difference_that_chance_gives_as_well_is_refused() -> None:
    found = Comparison("accuracy", 0.9, 0.8, Estimate(0.1, 0.05, 0.15), 0.04, 30, 30, 0.95)
    rule = improvement_rule(found, 0.01, "Accuracy", "version 2")
    assert not rule.passed
    assert rule.sentence.endswith(
        "all of it must be above 0.01, which it is, but two models that are alike differ as much in 4.00% of cases, "
        "and 2.50% is the most."
    )
