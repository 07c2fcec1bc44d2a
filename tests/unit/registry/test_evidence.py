"""What is compared: other labels, other documents, another tokenizer."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
import sacrebleu

from langmill.config.sections import Gate
from langmill.data.document import Document, Split, documents_path, read_documents, write_documents
from langmill.evaluation.scoring import usable
from langmill.evaluation.significance import Estimate, compare
from langmill.files import read_manifest, write_manifest
from langmill.registry import steps
from langmill.registry.evidence import Evidence, Pair
from langmill.registry.store import Registry
from langmill.registry.verdict import Verdict
from langmill.registry.versions import CHAMPION, ModelVersion, State, Tag
from langmill.scoring.conditional_generation import ConditionalGenerationScorer
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
from tests.unit.registry.judging import NAME, champion, judged
from tests.unit.tasks.settings import shipped_scorer

pytestmark = pytest.mark.unit


def answered_rightly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every model that the gate scores answer with the right label where it knows it."""
    score = Evidence.score

    def right(self: Any, version: ModelVersion, model: Any, scorer: Any, asked: Any) -> pa.Table:
        table = score(self, version, model, scorer, asked)
        known = [each.label if each.label in scorer.labels else scorer.labels[0] for each in asked]
        return table.set_column(table.column_names.index("predicted"), "predicted", pa.array(known, pa.string()))

    monkeypatch.setattr(Evidence, "score", right)


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
    recipe.scoring.options["context_overlap"] = 0.5
    monkeypatch.setattr(building, "recipe_of", lambda name: copy.deepcopy(recipe))
    build_model(workspace, NAME, 2)
    build_evaluation(workspace, NAME)
    version = steps.package_and_register(recipe, URI).version
    Registry(URI).note(version, {Tag.state: State.validated})
    taken = []
    score = Evidence.score
    monkeypatch.setattr(
        Evidence, "score",
        lambda self, who, model, scorer, asked: taken.append(scorer.options) or score(self, who, model, scorer, asked),
    )  # fmt: skip
    assert judged(version).outcome in ("passed", "refused")
    (options,) = taken
    assert options.context_overlap == 0.5


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

    pair = Pair(shipped_scorer("completion"), scores(1.0, 5), scores(4.0, 0))
    monkeypatch.setattr(Evidence, "against_champion", lambda *arguments: pair)
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
    old = shipped_scorer("text_to_text", metrics=["bleu"])
    scorer = shipped_scorer("text_to_text", metrics=["bleu"], only={"source": ["de"]})
    assert isinstance(scorer, ConditionalGenerationScorer)

    def written(scorer: Any, some: list[Document]) -> pa.Table:
        return scorer.table(some, {}, [str(each.target)[:-2] for each in some])

    monkeypatch.setattr(Evidence, "load", lambda *arguments: None)
    monkeypatch.setattr(Evidence, "score", lambda self, version, model, scorer, some: written(scorer, some))
    challenger = SimpleNamespace(
        scorer=scorer,
        test_set=usable(scorer.task, german).digest,
        scores=lambda: written(scorer, german),
        group_by=None,
    )
    case = Evidence(
        None, None, None, challenger, Gate("bleu", 0.0, 1, 1), recipe_of(NAME).evaluation, tmp_path, "cpu"  # type: ignore[arg-type]
    )  # fmt: skip
    pair = case.scored_again(None, SimpleNamespace(task=old.task), tmp_path)  # type: ignore[arg-type]
    assert pair.challenger["bleu_tokenizer"].to_pylist() == ["zh"] * 12
    found = compare(pair.scorer, pair.challenger, pair.other, "bleu", recipe_of(NAME).evaluation)
    assert found.improvement == Estimate(0.0, 0.0, 0.0)  # both wrote the same
    targets = [str(each.target) for each in read_documents(documents_path(tmp_path, Split.test))]
    expected = sacrebleu.corpus_bleu([each[:-2] for each in targets], [targets], tokenize="zh").score
    assert found.challenger == pytest.approx(expected, abs=1e-9)
