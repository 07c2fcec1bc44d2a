"""What is compared: other labels, other documents, another tokenizer."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sacrebleu

from langmill.data.document import Document
from langmill.evaluation.estimates import Estimate
from langmill.evaluation.significance import compare
from langmill.files import read_manifest, write_manifest
from langmill.registry import steps
from langmill.registry.store import ModelRegistry
from langmill.registry.trace import Check, trace
from langmill.registry.union import Union
from langmill.registry.versions import CHAMPION, State, Tag
from tests.unit.registry import building
from tests.unit.registry.building import (
    CLASSIFIER,
    URI,
    build_evaluation,
    build_model,
    documents,
    recipe_of,
    registered,
    registered_classifier,
)
from tests.unit.registry.judging import NAME, champion, in_this_process, judged
from tests.unit.tasks.settings import shipped_scorer

pytestmark = pytest.mark.unit


def rightly(task: Any, asked: list[Document], table: pa.Table) -> pa.Table:
    """The scores of a model that answers with the right label where it knows it."""
    known = [each.label if each.label in task.labels else task.labels[0] for each in asked]
    return table.set_column(table.column_names.index("predicted"), "predicted", pa.array(known, pa.string()))


def third_label(some: list[Document]) -> list[Document]:
    """The same documents, every fifth of another label."""
    return [replace(each, label="so-so") if place % 5 == 0 else each for place, each in enumerate(some)]


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
    ModelRegistry(URI).move_alias(CLASSIFIER, CHAMPION, old.version, None)
    new = registered_classifier(workspace, seed=2, train=third_label(train), test=third_label(test), right=True)
    in_this_process(monkeypatch, rightly)
    verdict = judged(new, recipe_of(CLASSIFIER))
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
    ModelRegistry(URI).move_alias(CLASSIFIER, CHAMPION, old.version, None)
    new = registered_classifier(workspace, seed=2, train=train, test=third_label(test), right=True)
    in_this_process(monkeypatch, rightly)
    verdict = judged(new, recipe_of(CLASSIFIER))
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
    verdict = judged(new, recipe_of(CLASSIFIER))
    assert verdict.outcome == "passed"
    assert verdict.sentence.endswith(
        "so-so (8). A model can't predict them; see that each label is in the training split."
    )


def test_another_selection_of_documents_is_judged_on_the_union(
    workspace: Path, reviews: tuple[list[Document], list[Document]], monkeypatch: pytest.MonkeyPatch
) -> None:
    train, test = reviews
    old = registered_classifier(workspace, seed=1, train=train, test=test, right=True)
    ModelRegistry(URI).move_alias(CLASSIFIER, CHAMPION, old.version, None)
    recipe = building.recipe_of(CLASSIFIER)
    recipe.task.options["only"] = {"source": ["imdb"]}
    monkeypatch.setattr(building, "recipe_of", lambda name: copy.deepcopy(recipe))
    new = registered_classifier(workspace, seed=2, train=train, test=test, right=True)
    in_this_process(monkeypatch, rightly)
    verdict = judged(new, recipe_of(CLASSIFIER))
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
    ModelRegistry(URI).note(version, {Tag.state: State.validated})
    assert judged(version).outcome in ("passed", "refused")
    recipe = recipe_of(NAME)
    for metric in ("perplexity", "next_token_accuracy"):
        verdict = judged(ModelRegistry(URI).version(NAME, 2), replace(recipe, gate=replace(recipe.gate, metric=metric)))
        assert verdict.outcome == "cannot tell"
        assert "counts tokens, and version 1 has another tokenizer" in verdict.sentence or metric != "perplexity"


def test_other_options_of_judging_score_the_champion_by_them(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    champion(registered(workspace, NAME, seed=1, factor=1.0))
    recipe = recipe_of(NAME)
    recipe.scoring.options["context_overlap"] = 0.5
    monkeypatch.setattr(building, "recipe_of", lambda name: copy.deepcopy(recipe))
    build_model(workspace, NAME, 2)
    build_evaluation(workspace, NAME)
    version = steps.package_and_register(recipe, URI).version
    ModelRegistry(URI).note(version, {Tag.state: State.validated})
    taken = []
    in_this_process(monkeypatch, lambda task, asked, table: taken.append(task.options) or table)
    assert judged(version).outcome in ("passed", "refused")
    (options,) = taken
    assert options.context_overlap == 0.5


def test_a_champion_is_judged_on_the_documents_that_were_drawn(
    workspace: Path, reviews: tuple[list[Document], list[Document]], monkeypatch: pytest.MonkeyPatch
) -> None:
    train, test = reviews
    old = registered_classifier(workspace, seed=1, train=third_label(train), test=third_label(test), right=True)
    ModelRegistry(URI).move_alias(CLASSIFIER, CHAMPION, old.version, None)
    capped = recipe_of(CLASSIFIER)
    capped = replace(
        capped,
        task=replace(capped.task, options={**capped.task.options, "only": {}}),
        evaluation=replace(capped.evaluation, max_documents=32),
    )
    monkeypatch.setattr(building, "recipe_of", lambda name: copy.deepcopy(capped))
    new = registered_classifier(workspace, seed=2, train=train, test=test, right=True)
    assert new.tags["langmill.judged_documents"] == "32 of 40"
    told = {fact.name: fact.check for fact in trace(URI, CLASSIFIER, int(new.version)).facts}
    assert told["test set"] is Check.verified
    asked = in_this_process(monkeypatch, rightly)
    verdict = judged(new, capped)
    assert asked == [f"{CLASSIFIER} version 1"]
    assert "Accuracy is 1 against 1 of version 1" in verdict.sentence and "on 32 test documents;" in verdict.sentence


def test_bleu_of_the_union_has_one_tokenizer() -> None:
    """The version was judged on German alone (13a), the champion knows Chinese besides: of both together it is zh."""
    german = [
        Document(f"d{number}", "a", target=f"Der Film war {number} Mal gut, sehr gut!", metadata={"source": "de"})
        for number in range(6)
    ]
    chinese = [
        Document(f"z{number}", "b", target="床前明月光疑是地上霜。" * 4, metadata={"source": "zh"})
        for number in range(6)
    ]
    old = shipped_scorer("text_to_text", metrics=["bleu"])
    new = shipped_scorer("text_to_text", metrics=["bleu"], only={"source": ["de"]})

    def written(scorer: Any, some: list[Document]) -> pa.Table:
        return scorer.table(some, {}, [str(each.target)[:-2] for each in some])

    union = Union.of(new.task, old.task, german + chinese)
    assert (union.documents, union.surplus) == (german + chinese, chinese)
    assert union.both == 6 * [True] + 6 * [False]
    mine, theirs, more = written(new, german), written(old, union.documents), written(new, union.surplus)
    pair = union.pair(new, mine, old.task, theirs, surplus=more, group_by=None)
    assert pair.difference == "0 documents are the version's alone, 6 the champion's"
    assert pair.challenger["bleu_tokenizer"].to_pylist() == ["zh"] * 12
    found = compare(pair.scorer, pair.challenger, pair.other, "bleu", recipe_of(NAME).evaluation)
    assert found.improvement == Estimate(0.0, 0.0, 0.0)  # both wrote the same
    targets = [str(each.target) for each in union.documents]
    expected = sacrebleu.corpus_bleu([each[:-2] for each in targets], [targets], tokenize="zh").score
    assert found.challenger == pytest.approx(expected, abs=1e-9)
