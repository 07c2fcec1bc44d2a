"""Twenty optimizer steps of shipped recipes, shrunk, by the code that trains; and the losses recorded of them.

Losses come again to the last bits only where the sums are added in the same order and dropout draws the same numbers.
So there is one file of recorded losses for each kind of processor (`Machine`), and on any other the losses without
dropout are compared more loosely.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import platform
import random
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml

from langmill.config.compose import compose_pretrained, compose_recipe, compose_tokenizer, plain
from langmill.config.sections import PRETRAINED, Recipe
from langmill.data.document import Document, Split, documents_path
from langmill.files import read_json, write_manifest, write_text
from langmill.models.base import ARCHITECTURES
from langmill.stages import encode, pretrained, tokenizer
from langmill.training.fit import fit
from tests.documents import write_documents
from tests.unit.models.checkpoints import WORDS, write_checkpoint

CONF = Path(__file__).parents[2] / "conf"
RECORDED = Path(__file__).parent / "losses"
STEPS = 20
SIZES = {Split.train: 64, Split.validation: 8, Split.test: 1}
SHRUNK = (
    f"training.steps={STEPS}",
    "training.optimizer.warmup_steps=5",
    "training.batch_size=8",
    "training.micro_batch_size=4",  # two of a step, whose targets differ in number
    "training.block_length=48",
    f"training.validate_every={STEPS}",
    "training.validation_batches=2",
    f"training.checkpoint_every={STEPS}",
    "training.log_every=1",
    "training.samples=[]",
    "training.threads=1",
    "training.accelerator=cpu",
    "training.precision=fp32",
)
RECURRENT = ("model.options.embedding_dim=32", "model.options.dim=32")
ENCODER_DECODER = ("model.options.dim=32", "model.options.num_heads=4", "model.options.hidden_dim=64")
ATTENTION = (*ENCODER_DECODER, "model.options.num_kv_heads=2")
BERT = ("task.options.answer_length=0",)  # the small one has 64 positions
NO_DROPOUT = ("model.options.dropout=0.0",)
NO_DROPOUT_IN_GPT2 = tuple(f"+model.options.config.{place}_pdrop=0.0" for place in ("attn", "embd", "resid"))
NO_DROPOUT_IN_BERT = ("task.options.dropout=0.0", "+model.options.config.hidden_dropout_prob=0.0")


@dataclass(frozen=True)
class Case:
    """How a shipped recipe is shrunk."""

    sizes: tuple[str, ...]
    """What makes its network small."""
    no_dropout: tuple[str, ...] = NO_DROPOUT
    """What switches all of its dropout off."""


CASES = {
    "shakespeare-rnn": Case(RECURRENT),
    "shakespeare-lstm": Case(RECURRENT),
    "shakespeare-gru": Case(RECURRENT),
    "shakespeare-gpt": Case(ATTENTION),
    "reviews-mlm": Case(ATTENTION),
    "catalogs-en-de": Case(ENCODER_DECODER),
    "poems": Case(ATTENTION),
    "sentiment": Case(("model.options.num_buckets=64",), ("task.options.dropout=0.0",)),
    "spam-ngrams": Case(("model.options.num_buckets=64",), ("task.options.dropout=0.0",)),
    "dialogues": Case(ATTENTION),
    "spam": Case(RECURRENT, (*NO_DROPOUT, "task.options.dropout=0.0")),
    "gpt2": Case((), NO_DROPOUT_IN_GPT2),
    "sentiment-minilm": Case(BERT, NO_DROPOUT_IN_BERT),
    "sentiment-minilm-lora": Case(BERT, NO_DROPOUT_IN_BERT),
}
"""At least one recipe of every architecture and of every task."""
PUBLISHED = {"gpt2-small": ("GPT2", "LMHeadModel"), "minilm": ("Bert", "Model"), "smollm2": ("Llama", "ForCausalLM")}
"""The family and the head of the pretrained models, in whose place small ones stand."""


def recipe_of(name: str, *overrides: str, dropout: bool = True) -> Recipe:
    """A shipped recipe, shrunk; its vocabulary is the bytes, so that it hangs on no library's way to learn merges."""
    case = CASES[name]
    return compose_recipe(name, [*SHRUNK, *case.sizes, *(() if dropout else case.no_dropout), *overrides], CONF)


def train(name: str, *, dropout: bool = True) -> list[float]:
    """Train a recipe in an empty folder; the loss of each step, then the validation's after the last one, in nats."""
    recipe = recipe_of(name, dropout=dropout)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        prepare(recipe)
        return losses_of(train_prepared(recipe, Path("run")))


def train_prepared(recipe: Recipe, out: Path) -> list[dict[str, float]]:
    """Train a recipe in the prepared current folder, into `out/model` and `out/runs`; the metrics that it logged."""
    base = recipe.training.base
    fit(
        recipe,
        shards=Path("build/shards", recipe.name),
        tokenizer=Path("build/tokenizers", recipe.tokenizer.name),
        base=Path("build/models", base) if base else None,
        runs=out / "runs",
        out=out / "model",
        tracking_uri=None,
    )
    (log,) = out.glob("runs/*/events.jsonl")
    events = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return [event["values"] for event in events if event["kind"] == "metrics"]


def losses_of(logged: list[dict[str, float]]) -> list[float]:
    """The loss of each step, then the validation's after the last one, in nats."""
    losses = [values[key] for key in ("train/loss", "validation/loss") for values in logged if key in values]
    assert len(losses) == STEPS + 1
    return losses


def prepare(recipe: Recipe) -> None:
    """Documents, vocabulary, base and tokens of a recipe in the current folder, by the stages that make them."""
    corpus = Path("build/documents", recipe.corpus.name)
    for split, count in SIZES.items():
        write_documents(documents_path(corpus, split), invent_documents(recipe, split.value, count))
    write_manifest(corpus, {"corpus": recipe.corpus.name})
    write_text(Path(f"build/config/recipe/{recipe.name}.yaml"), yaml.safe_dump(plain(recipe)))
    name = recipe.tokenizer.name
    if recipe.tokenizer.algorithm == PRETRAINED:
        write_checkpoint(Path("published"), *PUBLISHED[name])
        source = {"kind": "files", "path": "published", "packages": [], "repository": None, "revision": None}
        values = plain(compose_pretrained(name, CONF)) | {"source": source}
        write_text(Path(f"build/config/pretrained/{name}.yaml"), yaml.safe_dump(values))
        pretrained.main(name)
    else:
        size = 257 + len(recipe.tokenizer.special_tokens)
        values = plain(compose_tokenizer(name, CONF)) | {"corpus": recipe.corpus.name, "vocab_size": size}
        write_text(Path(f"build/config/tokenizer/{name}.yaml"), yaml.safe_dump(values))
        tokenizer.main(name)
    encode.main(recipe.name)


def invent_documents(recipe: Recipe, split: str, count: int) -> Iterator[Document]:
    """Documents of words that the small pretrained models know, with the fields that the recipe's corpus has."""
    rng, only = random.Random(split), recipe.task.options.get("only", {})
    for number in range(count):
        positive = number % 3 > 0  # labels of unequal number
        words = [rng.choice(WORDS) for _ in range(rng.randint(4, 16))]
        words[rng.randrange(len(words))] = "good" if positive else "bad"
        said = {"history": json.dumps([["is it good", "it is"]] * (number % 2))}
        yield Document(
            f"{split}-{number}",
            " ".join(words),
            str(int(positive)) if recipe.corpus.fields.label else None,
            " ".join(reversed(words[:6])) if recipe.corpus.fields.target else None,
            {
                name: said.get(name) or only.get(name, [f"{name} {number % 2}"])[0]
                for name in recipe.corpus.fields.metadata
            },
        )


# Recorded losses ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Machine:
    """What decides the order of sums and which numbers dropout draws."""

    processor: str
    """As in `x86_64-amd-avx2`: its maker decides too which routines the libraries choose."""
    versions: dict[str, str]
    """Of the libraries that compute."""

    @classmethod
    def here(cls) -> Machine:
        """This one."""
        capability = torch.backends.cpu.get_cpu_capability().lower()
        libraries = {"torch"}.union(
            *(ARCHITECTURES.find(recipe_of(name).model.architecture).libraries for name in CASES)
        )
        versions = {name: importlib.metadata.version(name).partition("+")[0] for name in sorted(libraries)}
        return cls(re.sub(r"[^a-z0-9_-]+", "", f"{platform.machine().lower()}-{_maker()}-{capability}"), versions)


def _maker() -> str:
    """Who made the processor, in a word; the name of the system where that does not say."""
    with contextlib.suppress(OSError):
        found = re.search(r"(?:vendor_id|CPU implementer)\s*: (\S+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
        if found:
            return found[1].lower().removeprefix("genuine").removeprefix("authentic")
    return platform.system().lower()


@dataclass(frozen=True)
class Losses:
    """What one machine's trainings had, by recipe: each step's loss, then the validation's."""

    machine: Machine
    as_shipped: dict[str, list[float]] = field(default_factory=dict)
    without_dropout: dict[str, list[float]] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The file of this kind of processor."""
        return RECORDED / f"{self.machine.processor}.json"

    @classmethod
    def read(cls, path: Path) -> Losses:
        """Recorded losses."""
        values: dict[str, Any] = read_json(path)
        return cls(Machine(path.stem, values["versions"]), values["as_shipped"], values["without_dropout"])

    def write(self) -> None:
        """Record these losses in the place of earlier ones; a line a recipe, so that a diff shows which changed."""
        parts = [f'"versions": {json.dumps(self.machine.versions)}']
        for name, losses in (("as_shipped", self.as_shipped), ("without_dropout", self.without_dropout)):
            lines = ",\n".join(f"    {json.dumps(recipe)}: {_rounded(losses[recipe])}" for recipe in sorted(losses))
            parts.append(f'"{name}": {{\n{lines}\n  }}')
        write_text(self.path, "{\n  " + ",\n  ".join(parts) + "\n}\n")


def _rounded(losses: list[float]) -> str:
    """Nine digits, which tell every number of 32 bits from the next one."""
    return json.dumps([float(f"{loss:.9g}") for loss in losses])


def recorded_for(machine: Machine) -> tuple[Losses, bool]:
    """The recorded losses to compare a machine's with, and whether they are of the same kind of machine.

    Where there is no file of its kind of processor, another one's serves; where there is none at all, nothing is known.
    """
    paths = sorted(RECORDED.glob("*.json"), key=lambda path: (path.stem != machine.processor, path.stem))
    losses = Losses.read(paths[0]) if paths else Losses(machine)
    return losses, losses.machine == machine


def largest_difference(losses: list[float], expected: list[float]) -> tuple[int, float]:
    """Where two trainings differ most, and by what part of the second one's loss."""
    assert len(losses) == len(expected)
    parts = [abs(one - other) / abs(other) for one, other in zip(losses, expected, strict=True)]
    return max(enumerate(parts, start=1), key=lambda part: part[1])
