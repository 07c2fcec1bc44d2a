"""A small workspace with what the graph would have made, so that the registry has something to take."""

from __future__ import annotations

import copy
import functools
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
import yaml

from langmill.config.compose import compose_recipe, plain
from langmill.config.sections import Recipe
from langmill.data.document import Document, Split, documents_path
from langmill.evaluation.evaluate import evaluate
from langmill.evaluation.folder import write_evaluation
from langmill.files import atomic_folder, digest_of, read_manifest, write_manifest
from langmill.models.base import build_backbone
from langmill.models.folder import save_model
from langmill.registry import package, steps
from langmill.registry.store import ModelRegistry
from langmill.registry.versions import ModelVersion, State, Tag
from langmill.scoring.base import TrainingData, build_scorer
from langmill.tasks.base import build_task
from langmill.tasks.loading import load_model
from langmill.tokenization.encoding import Example, encode_examples
from langmill.tokenization.shards import Shard, write_shard
from langmill.tokenization.tokenizer import Tokenizer
from langmill.tokenization.training import train_tokenizer
from langmill.training import provenance
from tests.documents import write_documents

ROOT = Path(__file__).parents[3]
URI = "sqlite:///.langmill/mlflow.db"
LANGUAGE_MODEL, CLASSIFIER = "reviews-lm", "sentiment-decoder"
SMALL = [
    "model.options.dim=16", "model.options.num_layers=1", "model.options.num_heads=2", "model.options.num_kv_heads=2",
    "model.options.hidden_dim=32", "tokenizer.vocab_size=300", "training.block_length=32",
    "evaluation.bootstrap_samples=100",
]  # fmt: skip
GOOD = ("A wonderful and moving film", "I laughed and cried and loved it", "The best story in years")
BAD = ("A dull and empty film", "I slept and wished it would end", "The worst story in years")


def recipe_of(name: str) -> Recipe:
    """One of the shipped recipes, made small; a copy of the caller's own."""
    return copy.deepcopy(_composed(name))


@functools.cache
def _composed(name: str) -> Recipe:
    return compose_recipe(name, SMALL, ROOT / "conf")


def documents(count: int) -> list[Document]:
    """Reviews, alternately good and bad."""
    return [
        Document(f"r{number}", f"{(GOOD, BAD)[number % 2][number % 3]}, number {number}.", str(1 - number % 2),
                 metadata={"source": "imdb" if number % 5 else "rotten"})
        for number in range(count)
    ]  # fmt: skip


def build_workspace(workspace: Path) -> None:
    """Make build/ for both recipes: documents, tokenizer, shards, models with random weights, evaluations."""
    build = workspace / "build"
    recipe = recipe_of(LANGUAGE_MODEL)
    texts = documents(90)
    folder = build / "documents" / recipe.corpus.name
    parts = {Split.train: texts[:50], Split.validation: texts[50:60], Split.test: texts[60:]}
    for split, part in parts.items():
        write_documents(documents_path(folder, split), part)
    write_manifest(folder, {})
    tokenizer = build / "tokenizers" / recipe.tokenizer.name / "tokenizer.json"
    train_tokenizer(
        recipe.tokenizer.algorithm,
        recipe.tokenizer.vocab_size,
        (text.text for text in texts),
        tokenizer,
        lambda _: None,
    )
    write_manifest(tokenizer.parent, {})
    for name in (LANGUAGE_MODEL, CLASSIFIER):
        build_shards(workspace, name, parts)
        build_model(workspace, name, seed=1)
        build_evaluation(workspace, name)


def build_shards(workspace: Path, name: str, parts: dict[Split, list[Document]]) -> None:
    """The tokens of a recipe."""
    recipe = recipe_of(name)
    tokenizer = Tokenizer.load(workspace / "build" / "tokenizers" / recipe.tokenizer.name)
    task = build_task(recipe.task.name, recipe.task.options, (), name)
    sizes = {}
    with atomic_folder(workspace / "build" / "shards" / name) as folder:
        for split, part in parts.items():
            examples = (Example(document.id, task.parts(document), document.label) for document in part)
            encoded = encode_examples(examples, tokenizer, 1)
            size = write_shard(folder, split, encoded, tokenizer.eot_id, tokenizer.dtype)
            sizes[split.value] = {"documents": len(part), **asdict(size)}
        write_manifest(
            folder,
            {
                "labels": task.find_labels(parts[Split.train]),
                "eot_id": tokenizer.eot_id,
                "dtype": tokenizer.dtype.str,
                "vocab_size": tokenizer.vocab_size,
                "splits": sizes,
            },
        )


def build_model(workspace: Path, name: str, seed: int) -> None:
    """A recipe's model with random weights; another seed gives another model with another provenance."""
    recipe = recipe_of(name)
    build = workspace / "build"
    shards = read_manifest(build / "shards" / name, verify=False)
    tokenizer = Tokenizer.load(build / "tokenizers" / recipe.tokenizer.name)
    task = build_task(recipe.task.name, recipe.task.options, shards["labels"], name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = task.network(
            build_backbone(
                recipe.model.architecture,
                recipe.model.options,
                tokenizer.vocab_size,
                recipe.training.block_length,
                name,
            )
        )
    own = {
        "recipe": name,
        "task": {"name": recipe.task.name, "options": recipe.task.options, "labels": list(task.labels)},
        "model": {"architecture": recipe.model.architecture, "options": recipe.model.options},
        "max_length": recipe.training.block_length,
        "eot_id": tokenizer.eot_id,
    }
    recipe = replace(recipe, training=replace(recipe.training, seed=seed))
    base = build / "models" / LANGUAGE_MODEL if name == CLASSIFIER else None
    origin = provenance.compute_provenance(recipe, build / "shards" / name, tokenizer.file, base)
    (build / "config" / "recipe").mkdir(parents=True, exist_ok=True)
    (build / "config" / "recipe" / f"{name}.yaml").write_text(yaml.safe_dump(plain(recipe)), encoding="utf-8")
    facts = {
        "recipe": name,
        "provenance": origin.digest,
        "parts": origin.parts,
        "base": origin.base,
        "corpus": {"name": recipe.corpus.name, "digest": digest_of(shards["files"])},
        "parameters": sum(weight.numel() for weight in network.parameters()),
    }
    save_model(build / "models" / name, network, {"langmill": own}, tokenizer.file, facts)


def build_evaluation(
    workspace: Path, name: str, train: list[Document] | None = None, test: list[Document] | None = None
) -> None:
    """The evaluation of a recipe's model as it is, on the workspace's documents or others."""
    recipe = recipe_of(name)
    build = workspace / "build"
    model = load_model(build / "models" / name, verify=False)
    known = documents(60) if train is None else train
    shard = Shard.open(build / "shards" / name, Split.train)
    usable = TrainingData(shard, lambda: [each for each in known if model.task.check(each) is None])
    asked = documents(90)[60:] if test is None else test
    scorer = build_scorer(model.task, recipe.scoring.options, name)
    found = evaluate(model, asked, usable, recipe.evaluation, recipe.gate.metric, scorer=scorer)
    with atomic_folder(build / "evaluation" / name) as folder:
        write_evaluation(folder, model, found, recipe.evaluation, recipe.gate.metric)


def registered_classifier(
    workspace: Path, *, seed: int, train: list[Document], test: list[Document], right: bool
) -> ModelVersion:
    """A registered version, taken as validated, of a classifier of these documents.

    The current folder must be `workspace`. With `right` its evaluation says that it answered all of them rightly.
    """
    recipe = recipe_of(CLASSIFIER)
    parts = {Split.train: train, Split.validation: train[:10], Split.test: test}
    for split, part in parts.items():
        write_documents(documents_path(workspace / "build" / "documents" / recipe.corpus.name, split), part)
    build_shards(workspace, CLASSIFIER, parts)
    build_model(workspace, CLASSIFIER, seed)
    build_evaluation(workspace, CLASSIFIER, train, test)
    if right:
        folder = workspace / "build" / "evaluation" / CLASSIFIER
        table = pq.read_table(folder / "scores.parquet")
        table = table.set_column(table.column_names.index("predicted"), "predicted", table["label"])
        pq.write_table(table, folder / "scores.parquet")
        facts = read_manifest(folder, verify=False)
        del facts["files"]
        write_manifest(folder, facts)
    version = register(recipe)
    ModelRegistry(URI).note(version, {Tag.state: State.validated})
    return ModelRegistry(URI).version(CLASSIFIER, version.version)


def register(recipe: Recipe) -> ModelVersion:
    """Package and register a recipe's model without Langmill's code: some 600 files, which are copied three times."""
    with mock.patch.object(package, "_copy_code", _copy_first_file):
        return steps.package_and_register(recipe, URI).version


def _copy_first_file(path: Path, into: Path) -> None:
    (into / path.name).mkdir(parents=True)
    shutil.copy(path / "__init__.py", into / path.name)


def restamp_evaluation(workspace: Path, name: str, factor: float) -> None:
    """Let the evaluation be of the model that is there now, and say that this needs `factor` times the nats.

    Much faster than an evaluation, and the gate sees what the test wants it to see.
    """
    build = workspace / "build"
    model, folder = read_manifest(build / "models" / name, verify=False), build / "evaluation" / name
    path = folder / "scores.parquet"
    table = pq.read_table(path)
    nats = pc.multiply(table["nats"], pa.scalar(factor))
    pq.write_table(table.set_column(table.column_names.index("nats"), "nats", nats), path)
    facts = read_manifest(folder, verify=False)
    del facts["files"]
    write_manifest(folder, {**facts, "provenance": model["provenance"]})


def registered(workspace: Path, name: str, *, seed: int, factor: float, with_code: bool = False) -> ModelVersion:
    """A registered version, taken as validated, of a language model that needs `factor` times the nats of the last one.

    The current folder must be `workspace`. Only `with_code` its package can be loaded in another process.
    """
    build_model(workspace, name, seed)
    restamp_evaluation(workspace, name, factor)
    version = steps.package_and_register(recipe_of(name), URI).version if with_code else register(recipe_of(name))
    registry = ModelRegistry(URI)
    registry.note(version, {Tag.state: State.validated})
    return registry.version(name, version.version)
