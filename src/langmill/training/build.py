"""The parts of a training: tokens, task, and the network before its first step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from langmill.config.compose import plain
from langmill.config.sections import Recipe, Training
from langmill.data.document import Split
from langmill.errors import ConfigError, TrainingError
from langmill.files import read_manifest, sha256_file
from langmill.models.base import ARCHITECTURES, Backbone, build_backbone
from langmill.models.folder import read_config, tokenizer_digest
from langmill.tasks.base import Task, build_task
from langmill.tasks.batching import Batch, MicroBatches
from langmill.tokenization.shards import Shard, shard_facts
from langmill.tokenization.tokenizer import Tokenizer


@dataclass(frozen=True)
class Data:
    """A task, and the tokens to learn it from."""

    task: Task
    tokenizer: Tokenizer
    train: Shard
    validation: Shard

    @classmethod
    def open(cls, recipe: Recipe, shards: Path, tokenizer: Path) -> Data:
        """Open the shards.

        Raises:
            TrainingError: The tokens were made by another tokenizer.
            IntegrityError: The shards are not a finished result, or are damaged.
        """
        facts = shard_facts(shards)  # a shard is verified when it is opened
        opened = Tokenizer.load(tokenizer)
        if facts["tokenizer_sha256"] != opened.digest:
            raise TrainingError(
                f"The tokens in {shards} were made by another tokenizer than {opened.file}; "
                f"make them again with `dvc repro encode@{recipe.name}`.",
                code="mismatch",
            )
        task = build_task(recipe.task.name, recipe.task.options, facts["labels"], f"Recipe {recipe.name}")
        return cls(task, opened, Shard.open(shards, Split.train), Shard.open(shards, Split.validation))

    def micro_batches(self, training: Training) -> Callable[[int, int], MicroBatches]:
        """Return a function from `(rank, world_size)` to that process's training batches."""
        make, eot_id = self.task.micro_batches, self.tokenizer.eot_id
        return lambda rank, size: make(self.train, training, rank=rank, world_size=size, eot_id=eot_id)

    def validation_batches(self, training: Training) -> list[Batch]:
        """The validation batches, in memory."""
        return list(self.task.validation_batches(self.validation, training, eot_id=self.tokenizer.eot_id))


def initial_network(recipe: Recipe, data: Data, base: Path | None) -> nn.Module:
    """Make the network before its first step: drawn from the seed, the backbone loaded from the base if there is one.

    Raises:
        TrainingError: The base model has another tokenizer or another network.
        ConfigError: The network's options do not fit the base.
        ModelError: The base's weights do not fit the network.
        IntegrityError: The base model is damaged.
    """
    torch.manual_seed(recipe.training.seed)
    if base is not None:
        _check_base(recipe, data, base)
    network = new_network(recipe, data, base)
    backbone = backbone_of(network)
    if base is None:
        data.task.observe(backbone, data.train)
    else:
        backbone.start_from(base)
    backbone.prepare_for_training(network)
    return network


def new_network(recipe: Recipe, data: Data, base: Path | None) -> nn.Module:
    """Make a network of the recipe's shape with random weights; a pretrained base defines the shape.

    Raises:
        ConfigError: The network's options do not fit the base, or the task can't be learned by the base's kind.
        ModelError: The base can't be read.
    """
    backbone = build_backbone(
        recipe.model.architecture,
        recipe.model.options,
        data.tokenizer.vocab_size,
        data.task.context_length(recipe.training.block_length),
        f"Recipe {recipe.name}",
        source=base,
    )
    if backbone.kind not in data.task.kinds:
        fitting = ", ".join(sorted(kind.value for kind in data.task.kinds))
        raise ConfigError(
            f"Recipe {recipe.name} starts from {recipe.training.base}, a network of the kind {backbone.kind.value}; "
            f"the task {recipe.task.name} can be learned by these kinds: {fitting}.",
            code="mismatch",
        )
    return data.task.network(backbone)


def backbone_of(network: nn.Module) -> Backbone:
    """The backbone of a task's network."""
    backbone = network.get_submodule("model")
    assert isinstance(backbone, Backbone)
    return backbone


def _check_base(recipe: Recipe, data: Data, base: Path) -> None:
    if tokenizer_digest(read_manifest(base, verify=False)) != sha256_file(data.tokenizer.file):
        raise TrainingError(
            f"Recipe {recipe.name} has another tokenizer than its base {recipe.training.base}, "
            "so the base's embedding means other tokens; give both the same tokenizer in conf/recipe/.",
            code="mismatch",
        )
    architecture = ARCHITECTURES.find(recipe.model.architecture)
    described = read_config(base).get("langmill")
    if described is None:  # a checkpoint of other authors
        if not architecture.needs_base:
            raise TrainingError(
                f"Recipe {recipe.name} starts from the pretrained model {recipe.training.base}, so its "
                f"model.architecture must be pretrained and not {recipe.model.architecture}.",
                code="mismatch",
            )
        return
    theirs, own = described["model"], plain(recipe)["model"]
    options = {**theirs["options"], **own["options"]}
    differing = sorted(
        name
        for name in options.keys() - architecture.free_options
        if theirs["options"].get(name) != own["options"].get(name)
    )
    if theirs["architecture"] != own["architecture"]:
        differing.insert(0, "architecture")
    if differing:
        raise TrainingError(
            f"Recipe {recipe.name} has another network than its base {recipe.training.base}: "
            f"{', '.join(differing)} differ; give both the same model in conf/recipe/.",
            code="mismatch",
        )
