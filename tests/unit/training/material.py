"""A workspace with a small corpus, its tokenizer and its tokens, made by the real stages from the real settings."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from langmill.config.compose import compose_recipe, load_section, plain
from langmill.config.sections import Recipe
from langmill.data.document import Document, Split, documents_path
from langmill.files import atomic_folder, write_manifest
from langmill.stages import encode, tokenizer
from langmill.training.fit import fit
from tests.documents import write_documents

REPOSITORY = Path(__file__).parents[3]
_SMALL = [  # whatever the shipped values are tuned to
    "tokenizer.vocab_size=300",
    "model.options.dim=32",
    "model.options.hidden_dim=64",
    "model.options.num_layers=2",
    "model.options.num_heads=4",
    "model.options.num_kv_heads=4",
    "model.options.dropout=0.0",
    "model.options.tie_embeddings=true",
    "training.steps=12",
    "training.batch_size=8",
    "training.micro_batch_size=8",
    "training.block_length=32",
    "training.optimizer.name=adamw",
    "training.optimizer.learning_rate=0.003",
    "training.optimizer.matrix_learning_rate=0.003",
    "training.optimizer.betas=[0.9,0.95]",
    "training.optimizer.final_fraction=0.05",
    "training.optimizer.head_learning_rate=0.01",
    "training.optimizer.weight_decay=0.1",
    "training.optimizer.warmup_steps=3",
    "training.optimizer.gradient_clip=1.0",
    "training.validate_every=4",
    "training.validation_batches=3",
    "training.early_stopping_patience=0",
    "training.checkpoint_every=2",
    "training.log_every=3",
    "training.threads=1",
    "training.devices=1",
    "training.nodes=1",
    "training.precision=fp32",
    "training.compile=false",
]
RECIPES = {
    "reviews-lm": [*_SMALL, "task.options.sample_tokens=8", "training.samples=[The film]"],
    "sentiment-decoder": [*_SMALL, "training.samples=[A fine film]"],
}
_GOOD = ["wonderful", "moving", "funny", "clever", "warm", "bright", "honest", "gripping"]
_BAD = ["dull", "empty", "tedious", "clumsy", "cold", "stale", "fake", "endless"]
_COMMON = ["the", "film", "story", "actors", "scene", "music", "ending", "camera", "was", "with", "and", "a", "of"]


def write_recipe(folder: Path, name: str, overrides: Sequence[str] = ()) -> None:
    """Write a shipped recipe, made small, as the compose stage does."""
    recipe = compose_recipe(name, [*RECIPES[name], *overrides], REPOSITORY / "conf")
    path = folder / "build" / "config" / "recipe" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(plain(recipe)), encoding="utf-8")


def make_workspace(folder: Path, overrides: Mapping[str, Sequence[str]] | None = None) -> Path:
    """A workspace that is ready for the train stage of both shipped recipes."""
    shutil.copytree(REPOSITORY / "conf", folder / "conf")
    for name in RECIPES:
        write_recipe(folder, name, (overrides or {}).get(name, ()))
    recipe = compose_recipe("reviews-lm", RECIPES["reviews-lm"], REPOSITORY / "conf")
    path = folder / "build" / "config" / "tokenizer" / "reviews.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(yaml.safe_dump(plain(recipe.tokenizer)), encoding="utf-8")
    with atomic_folder(folder / "build" / "documents" / "reviews") as documents:
        for split, count in ((Split.train, 120), (Split.validation, 30), (Split.test, 30)):
            write_documents(documents_path(documents, split), invent_reviews(count, split.value))
        write_manifest(documents, {"corpus": "reviews"})
    with inside(folder):
        tokenizer.main("reviews")
        for name in RECIPES:
            encode.main(name)
    return folder


def invent_reviews(count: int, seed: str) -> Iterator[Document]:
    """Short labelled texts; half of the words tell the label."""
    rng = random.Random(seed)
    for number in range(count):
        label = number % 2
        words = [rng.choice(_COMMON if rng.random() < 0.5 else (_GOOD if label else _BAD)) for _ in range(30)]
        yield Document(f"{seed}-{number}", " ".join(words).capitalize() + ".", str(label), None, {"source": "imdb"})


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Work in a workspace."""
    with contextlib.chdir(folder):
        yield


def train(workspace: Path, name: str, overrides: Sequence[str] = (), out: str | None = None, **others: Any) -> Path:
    """Train a recipe in this process, without a tracking server; gives the model folder."""
    write_recipe(workspace, name, overrides)
    return train_written(workspace, name, out, **others)


def train_written(workspace: Path, name: str, out: str | None = None, **others: Any) -> Path:
    """Train the recipe that was written, as each process of a training does."""
    with inside(workspace):
        recipe = load_section(Recipe, Path(f"build/config/recipe/{name}.yaml"))
        fit(
            recipe,
            shards=Path(f"build/shards/{name}"),
            tokenizer=Path(f"build/tokenizers/{recipe.tokenizer.name}"),
            base=Path(f"build/models/{recipe.training.base}") if recipe.training.base else None,
            runs=Path(".langmill/runs"),
            out=Path(f"build/models/{out or name}"),
            tracking_uri=None,
            **others,
        )
    return workspace / "build" / "models" / (out or name)


def events(workspace: Path, kind: str, recipe: str = "reviews-lm") -> list[dict[str, Any]]:
    """What a recipe's runs have logged, of one kind, in order."""
    found: list[dict[str, Any]] = []
    for path in sorted(workspace.glob(".langmill/runs/*/events.jsonl")):
        logged = [json.loads(line) for line in path.read_text().splitlines()]
        if logged and logged[0].get("experiment") == recipe:
            found += [event for event in logged if event["kind"] == kind]
    return found


def curve(workspace: Path, figure: str, recipe: str = "reviews-lm") -> dict[int, float]:
    """A logged figure of a recipe by its step."""
    found = [(event["step"], event["values"]) for event in events(workspace, "metrics", recipe)]
    return {step: values[figure] for step, values in found if figure in values}


def weights(model: Path) -> bytes:
    """The bytes of a model's weights."""
    return (model / "model.safetensors").read_bytes()
