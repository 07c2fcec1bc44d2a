"""Every shipped recipe goes from documents to a package and MLflow, shrunk: few documents, few steps, few tokens.

What is not shrunk is what could be wrong in a recipe: its task and options, template, metrics, model, optimizer, gate.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from langmill.config.compose import available, compose_pretrained, compose_recipe, compose_tokenizer, plain
from langmill.config.sections import PRETRAINED, Recipe
from langmill.data.document import Document, Split, documents_path
from langmill.evaluation.folder import EvaluationFolder
from langmill.files import read_json, read_manifest, write_manifest, write_text
from langmill.registry.package import package
from langmill.stages import encode, evaluate, pretrained, tokenizer, train
from langmill.stages.recipe_checks import check_recipe
from langmill.tasks.loading import load_model
from langmill.tracking.connection import connect
from langmill.tracking.shipping import ship
from tests.documents import write_documents
from tests.pipeline.workspace import edit
from tests.unit.models.checkpoints import write_checkpoint

pytestmark = pytest.mark.pipeline
ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
RECIPES = available("recipe", CONF)
SIZES = {Split.train: 48, Split.validation: 8, Split.test: 8}
SHRUNK = [
    "training.steps=3",
    "training.optimizer.warmup_steps=1",
    "training.batch_size=4",
    "training.micro_batch_size=4",
    "training.block_length=48",
    "training.validate_every=2",
    "training.validation_batches=1",
    "training.log_every=1",
    "training.threads=1",
    "evaluation.bootstrap_samples=100",
    "evaluation.threads=1",
]
NO_SERVER, DATABASE = "http://127.0.0.1:9", "sqlite:///.langmill/mlflow.db"
"""A training's own sender would import MLflow anew each time, for seconds: the test sends its runs itself."""
PUBLISHED = {
    "minilm": ("Bert", "Model", {"max_position_embeddings": 512}),
    "gpt2-small": ("GPT2", "LMHeadModel", {}),
    # As many blocks as the recipes' adapters ask for.
    "smollm2": ("Llama", "ForCausalLM", {"max_position_embeddings": 1024, "num_hidden_layers": 10}),
}
"""The families of the pretrained models that recipes start from."""
WITHOUT_SERIOUS = {"reviews-mlm"}
"""Made to be fine-tuned, not to be used: what it is good for shows in the recipe that it is the base of."""
AGAINST_ITS_BASE = {"everyday-preferences"}
"""Rewards are counted from the base, so that no other way to do the same has any."""
WORDS = "the film was good and a file could not be found where rose is red 春眠不覺曉 return value of name".split()  # noqa: SIM905


@pytest.fixture(scope="module")
def workspace(copy_database: Callable[[Path], None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the shipped settings, in which recipes are made one after the other."""
    folder = tmp_path_factory.mktemp("recipes")
    copy_database(folder)
    shutil.copytree(CONF, folder / "conf")
    edit(folder / "conf" / "operation" / "default.yaml", tracking_uri=NO_SERVER)
    before = Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


def documents_of(recipe: Recipe, split: Split) -> list[Document]:
    """Documents that have the fields of the recipe's corpus, and that the recipe takes."""
    fields, only = recipe.corpus.fields, recipe.task.options.get("only", {})
    known = {"history": "[]", "answers": '["red"]', "form": "五言绝句"}
    found = []
    for number in range(SIZES[split]):
        words = [WORDS[(number * 7 + place * (1 + number % 5)) % len(WORDS)] for place in range(9)]
        metadata = {name: only.get(name, [known.get(name, f"{name} {number % 3}")])[0] for name in fields.metadata}
        found.append(
            Document(
                f"{split}:{number}",
                " ".join(words),
                str(number % 2) if fields.label else None,
                " ".join(reversed(words[:5])) if fields.target else None,
                metadata,
            )
        )
    return found


def learn_vocabulary(recipe: Recipe) -> None:
    """A small vocabulary in the place of the recipe's."""
    name = recipe.tokenizer.name
    values = plain(compose_tokenizer(name)) | {"vocab_size": 400, "corpus": recipe.corpus.name}
    write_text(Path(f"build/config/tokenizer/{name}.yaml"), yaml.safe_dump(values))
    tokenizer.main(name)


def bring(recipe: Recipe) -> None:
    """A small model of the same architecture in the place of the pretrained one, brought by the stage."""
    name = str(recipe.training.base)
    family, head, changes = PUBLISHED[name]
    write_checkpoint(Path("published") / name, family, head, **changes)
    source = {"kind": "files", "path": f"published/{name}", "packages": [], "repository": None, "revision": None}
    values = plain(compose_pretrained(name)) | {"source": source}
    write_text(Path(f"build/config/pretrained/{name}.yaml"), yaml.safe_dump(values))
    pretrained.main(name)


def make(name: str) -> Recipe:
    """A recipe's model, evaluation and all that they need, unless they are there."""
    recipe = compose_recipe(name, SHRUNK, Path("conf"))
    check_recipe(recipe, name)
    if Path(f"build/evaluation/{name}").is_dir():
        return recipe
    if recipe.training.base in RECIPES:
        make(recipe.training.base)
    corpus = Path(f"build/documents/{recipe.corpus.name}")
    for split in Split:
        write_documents(documents_path(corpus, split), documents_of(recipe, split))
    write_manifest(corpus, {"corpus": recipe.corpus.name})
    write_text(Path(f"build/config/recipe/{name}.yaml"), yaml.safe_dump(plain(recipe), allow_unicode=True))
    if not Path(f"build/tokenizers/{recipe.tokenizer.name}").is_dir():
        if recipe.tokenizer.algorithm == PRETRAINED:
            bring(recipe)
        else:
            learn_vocabulary(recipe)
    for stage in (encode, train, evaluate):
        stage.main(name)
    return recipe


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_goes_through_the_whole_line(name: str, workspace: Path) -> None:
    recipe = make(name)
    evaluation, model = workspace / "build" / "evaluation" / name, workspace / "build" / "models" / name
    metrics = read_json(evaluation / "metrics.json")
    assert metrics["primary"] == recipe.gate.metric
    assert metrics["examples"] == SIZES[Split.test]
    loaded = load_model(model, verify=True)
    # T5 has a name for a tied head of its own, so that it stands in the file twice; a network has it once.
    parameters = sum(weight.numel() for weight in loaded.network.parameters())
    assert read_manifest(model, verify=False)["parameters"] == parameters
    run = ship(workspace / ".langmill" / "runs" / loaded.provenance, DATABASE)
    tracked = connect(DATABASE).get_run(run)
    assert tracked.info.status == "FINISHED"
    assert f"test/{recipe.gate.metric}" in tracked.data.metrics
    assert {metric.name for metric in EvaluationFolder.open(evaluation, verify=True).scorer.metrics} <= set(metrics)
    assert (model / "adapter").is_dir() == (recipe.model.options.get("tuning") == "lora")
    (workspace / "packages").mkdir(exist_ok=True)
    packaged = package(model, evaluation, workspace / "packages" / name)
    assert json.loads((packaged / "artifacts/model/config.json").read_text())["langmill"]["recipe"] == name
    assert (packaged / "artifacts/model/merge.json").is_file() == (model / "adapter").is_dir()
    folder = EvaluationFolder.open(evaluation, verify=True)
    strengths = {facts["strength"] for facts in metrics["baselines"].values()}
    if name in WITHOUT_SERIOUS:
        assert strengths == {"trivial"}
        return
    scored_base = metrics.get("base") is not None and metrics["base"]["scored"]  # a new head has no figure before
    assert strengths == {"trivial", "strong"} | ({"base"} if scored_base else set())
    assert recipe.gate.metric in metrics["baselines"][folder.trivial_baseline]
    if name in AGAINST_ITS_BASE:
        return
    assert any(facts["strength"] == "strong" and recipe.gate.metric in facts for facts in metrics["baselines"].values())
