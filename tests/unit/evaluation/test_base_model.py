"""What tuning bought: the base as it came beside the model that was made of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from langmill.data.document import Document
from langmill.errors import EvaluationError
from langmill.evaluation.base_model import BaseModel, base_of
from langmill.evaluation.estimates import Metrics
from langmill.evaluation.evaluate import _asked, evaluate
from langmill.evaluation.folder import EvaluationFolder, write_evaluation
from langmill.files import read_manifest, write_manifest
from langmill.models.base import build_backbone
from langmill.models.folder import save_model
from langmill.models.generation.config import GenerationConfig
from langmill.registry.versions import metrics_tags
from langmill.scoring.base import Scorer
from langmill.tasks.loading import LoadedModel, load_model
from langmill.tokenization.tokenizer import Tokenizer
from langmill.workspace import Workspace
from tests.refused import refused

from ..models.checkpoints import write_checkpoint
from ..models.pretrained import LORA
from ..tasks.settings import evaluation, save_tiny_model, shard, shipped_scorer, training_data

pytestmark = pytest.mark.unit
SETTINGS = evaluation(bootstrap_samples=100)
WORDS = ("the film was good", "a bad story", "the king speaks not", "i see a red rose", "the plot of it")


def tuned(base: Path, task: str, labels: tuple[str, ...] = (), name: str = "base", **changes: Any) -> LoadedModel:
    """A model with a base, with other weights and the base's own tokenizer."""
    folder = base.parent / "tuned"
    save_tiny_model(folder, task, labels, Tokenizer.load(base), max_length=24, **changes)
    found = load_model(folder, verify=True)
    with torch.no_grad():
        for weight in found.network.parameters():
            weight.mul_(1.5)
    origin = {"recipe": name, "provenance": read_manifest(base, verify=False)["provenance"]}
    return replace(found, manifest={**found.manifest, "base": origin})


@pytest.fixture
def base(tmp_path: Path, tokenizer: Tokenizer) -> Path:
    """A language model of our own."""
    save_tiny_model(tmp_path / "base", "language_modelling", (), tokenizer, max_length=24)
    return tmp_path / "base"


def scores_of(scorer: Scorer, network: Any, tokenizer: Tokenizer, documents: list[Document]) -> list[float]:
    return scorer.score(network, tokenizer, documents, SETTINGS)["nats"].to_pylist()


def test_the_base_is_judged_on_the_same_documents_in_the_same_way(
    base: Path, documents: list[Document], tmp_path: Path
) -> None:
    model, scorer = tuned(base, "language_modelling"), shipped_scorer("language_modelling")
    train = training_data(shard([model.tokenizer.encode(document.text) for document in documents]))
    questions, origin = ["The film | was\n<good>", "The king"], BaseModel("base", base, model)
    found = evaluate(
        model, documents, train, SETTINGS, "bits_per_byte", scorer=scorer, base=origin, questions=questions
    )
    (zero_shot,) = [each for each in found.baselines if each.name == "base"]
    alone = load_model(base, verify=True)
    assert zero_shot.scores["nats"].to_pylist() == scores_of(scorer, alone.network, model.tokenizer, documents)
    assert zero_shot.scores["nats"] != found.scores["nats"]
    before = origin.network()
    assert [each[0] for each in found.before_after] == questions
    for question, first, then in found.before_after:
        for network, answer in ((before, first), (model.network, then)):
            said = model.task.sample(network, model.tokenizer, question, SETTINGS.seed)
            assert said.removeprefix(question).strip() == answer
    write_evaluation(tmp_path / "out", model, found, SETTINGS, "bits_per_byte")
    metrics = Metrics.read(tmp_path / "out")
    assert metrics.base == "base" and metrics.zero_shot is not None
    value = metrics.zero_shot.values["bits_per_byte"]
    assert metrics_tags(metrics)["langmill.base_as_it_came"] == f"base {value!r}"
    assert "base" not in {each.name for each in (metrics.hardest("trivial"), metrics.hardest("strong")) if each}
    report = (tmp_path / "out" / "report.md").read_text()
    assert "| unigram | trigram | base |" in report
    assert "- **base** (base as it came, before it was tuned): Bits per byte" in report
    assert "## Before and after" in report and "| question | base as it came | tuned |" in report
    assert "| The film \\| was<br>&lt;good> | " in report
    assert EvaluationFolder.open(tmp_path / "out", verify=True).base == "base"


def test_a_language_model_could_answer_before_it_was_tuned_to(base: Path) -> None:
    model = tuned(base, "completion")
    network = BaseModel("base", base, model).network()
    assert network is not None and not network.training
    mine, theirs = network.state_dict(), load_model(base, verify=True).network.state_dict()
    assert mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


@pytest.mark.parametrize("task", ["language_modelling", "classification"])
def test_a_new_head_has_no_answers_and_that_is_said(
    task: str, tmp_path: Path, tokenizer: Tokenizer, documents: list[Document]
) -> None:
    labels = ("dull", "great") if task == "classification" else ()
    save_tiny_model(tmp_path / "base", task, labels, tokenizer, max_length=24)
    model = tuned(tmp_path / "base", "classification", ("neg", "pos"))
    scorer = shipped_scorer("classification", ("neg", "pos"))
    train = training_data(shard([[1], [2], [3]], ["pos", "pos", "neg"]), documents)
    origin = BaseModel("base", tmp_path / "base", model)
    found = evaluate(model, documents, train, SETTINGS, "accuracy", scorer=scorer, base=origin)
    write_evaluation(tmp_path / "out", model, found, SETTINGS, "accuracy")
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["base"] == {"recipe": "base", "scored": False} and "base" not in metrics["baselines"]
    assert "- No metrics of its base, base: the head that answers was new" in (tmp_path / "out/report.md").read_text()
    assert EvaluationFolder.open(tmp_path / "out", verify=True).base is None


def test_the_same_labels_make_it_the_same_question(tmp_path: Path, tokenizer: Tokenizer) -> None:
    save_tiny_model(tmp_path / "base", "classification", ("neg", "pos"), tokenizer, max_length=24)
    model = tuned(tmp_path / "base", "classification", ("neg", "pos"))
    assert BaseModel("base", tmp_path / "base", model).network() is not None


@pytest.mark.parametrize(("family", "head"), [("Llama", "ForCausalLM"), ("GPT2", "LMHeadModel")])
def test_a_checkpoint_of_other_authors_brings_its_head(tmp_path: Path, family: str, head: str) -> None:
    theirs = write_checkpoint(tmp_path / "base", family, head, tie_word_embeddings=family == "GPT2")
    options = {"kind": "causal", "tuning": "lora", "lora": LORA, "config": {}}
    tokenizer = Tokenizer.load(tmp_path / "base")
    scorer = shipped_scorer("completion")
    backbone = build_backbone("pretrained", options, 20, 32, "test", source=tmp_path / "base")
    own = {
        "recipe": "tuned",
        "task": {"name": "completion", "options": scorer.task.options.__dict__, "labels": []},
        "model": {"architecture": "pretrained", "options": options},
        "max_length": 32,
        "eot_id": tokenizer.eot_id,
    }
    facts = {"provenance": "1" * 64, "base": {"recipe": "base", "provenance": "0" * 64}}
    save_model(tmp_path / "tuned", scorer.task.network(backbone), {"langmill": own}, tokenizer.file, facts)
    model = load_model(tmp_path / "tuned", verify=True)
    network: Any = BaseModel("base", tmp_path / "base", model).network()
    tokens = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        assert torch.allclose(network(tokens), theirs(tokens).logits, atol=1e-5)


def test_another_base_than_it_was_made_of_is_refused(base: Path) -> None:
    model = tuned(base, "language_modelling")
    folder = base.parent / "workspace"
    assert base_of(replace(model, manifest={"base": None}), Workspace(folder)) is None
    origin = base_of(model, Workspace(folder))
    assert origin is not None
    with refused(EvaluationError, "missing", "base as it came", "dvc repro evaluate@tiny"):
        origin.network()
    facts = {**read_manifest(base, verify=True), "provenance": "cd" * 32}
    del facts["files"]
    write_manifest(base, facts)
    with refused(EvaluationError, "mismatch", "not the model that it was fine-tuned from"):
        BaseModel("base", base, model).network()


def test_questions_are_answered_as_the_model_will_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[GenerationConfig | None] = []

    def generate(self: LoadedModel, prompt: str, *rest: object) -> str:
        asked.append(self.generation_config)
        return f" {prompt}, by {self.network} "

    monkeypatch.setattr(LoadedModel, "generate", generate)
    scorer = shipped_scorer("chat")
    networks: list[Any] = ["tuned", "base"]
    model = LoadedModel(Path(), scorer.task, networks[0], cast("Any", None), {}, {"langmill": {"recipe": "r"}})
    assert _asked(model, networks[1], ["Who?"], scorer, 1) == [("Who?", "Who?, by base", "Who?, by tuned")]
    assert asked == [scorer.generation_config] * 2
