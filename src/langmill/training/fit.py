"""Tokens and settings to a trained model folder."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from pytorch_lightning.strategies import DDPStrategy, ModelParallelStrategy
from pytorch_lightning.strategies.strategy import Strategy as LightningStrategy
from pytorch_lightning.utilities import rank_zero_only
from torch import nn

from langmill.config.compose import plain
from langmill.config.sections import Recipe, Training
from langmill.data.document import Split
from langmill.errors import TrainingError
from langmill.files import digest_of, read_manifest, sha256_file
from langmill.models.base import Backbone, build_backbone, find_architecture
from langmill.models.folder import load_weights, read_config, save_model, tokenizer_digest
from langmill.tasks.base import Task, build_task
from langmill.tasks.batching import Batch, MicroBatches
from langmill.tasks.loading import interface_of
from langmill.tokenization.shards import Shard
from langmill.tokenization.tokenizer import Tokenizer
from langmill.tracking import RunLog, shipping
from langmill.training import provenance
from langmill.training.checkpoints import remove_checkpoints
from langmill.training.continuation import Continuation, LastStep
from langmill.training.finished import FINISHED, is_finished, put_finished, sweep_finished
from langmill.training.guard import Figures
from langmill.training.hardware import (
    check_compiler,
    choose_accelerator,
    is_sharding,
    peak_flops,
    prepared,
    uses_bf16,
)
from langmill.training.module import TrainingModule
from langmill.training.provenance import Provenance
from langmill.training.reporting import Reporter
from langmill.training.sharding import full_state
from langmill.training.signals import OwnSignals, interruptible
from langmill.training.validation import Validation

CHECKPOINTS = "checkpoints"
_logger = logging.getLogger(__name__)


def fit(
    recipe: Recipe,
    *,
    shards: Path,
    tokenizer: Path,
    base: Path | None,
    runs: Path,
    out: Path,
    tracking_uri: str | None,
    is_committed: Callable[[Path], bool] = lambda _: True,
) -> None:
    """Train a recipe's model, going on from where an interrupted run of the same provenance stopped.

    A run that was finished before, but is not known to be committed, is not trained again. With several devices, this
    function runs in every process; only the first one writes.

    Args:
        recipe: The settings.
        shards: The folder of tokens.
        tokenizer: The tokenizer's folder or file.
        base: The model folder to start from; None starts from random weights.
        runs: Each run keeps its log and its checkpoints in a folder here that is named by its provenance.
        out: The model folder to write, whole or not at all.
        tracking_uri: The MLflow server that gets the run's log in the background; None keeps it here only.
        is_committed: Whether a model folder is safe elsewhere, so that the run's own copy may go.

    Raises:
        TrainingError: The parts do not fit each other, the machine lacks what the settings ask for, or the loss stopped
            being a number.
        DataError: There is nothing to train on.
        IntegrityError: A folder is not a finished result, or is damaged.
        SpaceError: The disk is full.
        KeyboardInterrupt: The training was interrupted.
    """
    with prepared(recipe.training), quiet_lightning():
        data = Data.open(recipe, shards, tokenizer)
        story = provenance.trace(recipe, shards, data.tokenizer.file, base)
        run = runs / story.digest
        first = getattr(rank_zero_only, "rank", 0) == 0  # from the environment: no trainer yet
        if first:
            sweep_finished(runs, run, recipe.name, is_committed)
        if is_finished(run) and not is_committed(run / FINISHED):  # every process comes to the same answer
            _logger.info("This run was finished before; its model is in %s.", run)
            if first:
                with told(recipe, story, run, tracking_uri):
                    remove_checkpoints(run / CHECKPOINTS)  # where it was killed right after the model was saved
                    put_finished(run, out)
            return
        network = initial_network(recipe, data, base)
        fitting = Fitting(recipe, data, network, run)
        with fitting.reported(story, tracking_uri):
            fitting.run()
            fitting.save(story, base)
            if fitting.trainer.is_global_zero:
                put_finished(run, out)


@dataclass(frozen=True)
class Data:
    """What is learned, and from what."""

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
        facts = read_manifest(shards, verify=True)
        opened = Tokenizer.load(tokenizer)
        if facts["tokenizer_sha256"] != sha256_file(opened.file):
            raise TrainingError(
                f"The tokens in {shards} were made by another tokenizer than {opened.file}; "
                f"make them again with `dvc repro encode@{recipe.name}`."
            )
        task = build_task(recipe.task.name, recipe.task.options, facts["labels"], f"Recipe {recipe.name}")
        return cls(
            task,
            opened,
            Shard.open(shards, Split.train),
            Shard.open(shards, Split.validation),
        )

    def micro_batches(self, training: Training) -> Callable[[int, int], MicroBatches]:
        """The training batches of a process, by its rank and the number of processes."""

        def of_process(rank: int, world_size: int) -> MicroBatches:
            return self.task.micro_batches(
                self.train, training, rank=rank, world_size=world_size, eot_id=self.tokenizer.eot_id
            )

        return of_process

    def validation_batches(self, training: Training) -> list[Batch]:
        """The batches of every validation, in memory."""
        return list(self.task.validation_batches(self.validation, training, eot_id=self.tokenizer.eot_id))


def initial_network(recipe: Recipe, data: Data, base: Path | None) -> nn.Module:
    """The network before its first step: drawn from the seed, the backbone taken from the base model if there is one.

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
    backbone = _backbone(network)
    if base is not None:
        backbone.start_from(base)
    backbone.adapt()
    return network


def new_network(recipe: Recipe, data: Data, base: Path | None) -> nn.Module:
    """A network of the recipe's shape with random weights; a base may be needed to know the shape."""
    backbone = build_backbone(
        recipe.model.architecture,
        recipe.model.options,
        data.tokenizer.vocab_size,
        data.task.context_length(recipe.training.block_length),
        f"Recipe {recipe.name}",
        source=base,
    )
    return data.task.network(backbone)


def _backbone(network: nn.Module) -> Backbone:
    backbone = network.get_submodule("model")
    assert isinstance(backbone, Backbone)
    return backbone


def _check_base(recipe: Recipe, data: Data, base: Path) -> None:
    if tokenizer_digest(read_manifest(base, verify=False)) != sha256_file(data.tokenizer.file):
        raise TrainingError(
            f"Recipe {recipe.name} has another tokenizer than its base {recipe.training.base}, "
            "so the base's embedding means other tokens; give both the same tokenizer in conf/recipe/."
        )
    architecture = find_architecture(recipe.model.architecture)
    described = read_config(base).get("langmill")
    if described is None:  # a checkpoint of other authors
        if not architecture.needs_base:
            raise TrainingError(
                f"Recipe {recipe.name} starts from the pretrained model {recipe.training.base}, so its "
                f"model.architecture must be pretrained and not {recipe.model.architecture}."
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
            f"{', '.join(differing)} differ; give both the same model in conf/recipe/."
        )


class Fitting:
    """One training: the module, the callbacks around it, and Lightning's trainer.

    Attributes:
        module: What makes the steps.
        trainer: Lightning's.
        figures: Counts the tokens.
    """

    def __init__(self, recipe: Recipe, data: Data, network: nn.Module, run: Path) -> None:
        """Put a training together.

        Args:
            recipe: The settings.
            data: What it learns from.
            network: The network to train.
            run: The run's own folder.

        Raises:
            TrainingError: The machine lacks what the settings ask for.
        """
        training = recipe.training
        accelerator = choose_accelerator(training)
        check_compiler(training, accelerator)
        bf16 = uses_bf16(training, accelerator)
        self.recipe = recipe
        self.folder = run
        self.data = data
        self.module = TrainingModule(
            network,
            data.task,
            training,
            data.micro_batches(training),
            bf16=bf16,
            sharded=is_sharding(training),
        )
        self.figures = Figures()
        self.reporter = Reporter(
            recipe.name,
            training,
            self.figures,
            flops_per_token=getattr(network, "flops_per_token", None),
            peak_flops=peak_flops(training, accelerator, bf16=bf16),
        )
        self.validation = Validation(training, data.validation_batches(training), data.tokenizer, self.reporter)
        continuation = Continuation(training, run / CHECKPOINTS, self.figures, self.validation)
        self.trainer = build_trainer(
            training,
            accelerator,
            [self.figures, self.reporter, LastStep(continuation), self.validation, continuation, OwnSignals()],
        )

    @contextlib.contextmanager
    def reported(self, story: Provenance, tracking_uri: str | None) -> Iterator[None]:
        """Let the first process write the run's log, send it and show how far the training is."""
        if not self.trainer.is_global_zero:
            yield
            return
        with (
            told(self.recipe, story, self.folder, tracking_uri) as self.reporter.run_log,
            contextlib.ExitStack() as self.reporter.closing,
        ):
            yield

    def run(self) -> None:
        """Train to the end.

        Raises:
            TrainingError: The loss or the gradient norm stopped being a number.
            KeyboardInterrupt: The training was interrupted.
        """
        with interruptible(self.trainer):
            self.trainer.fit(self.module)

    def save(self, story: Provenance, base: Path | None) -> None:
        """Write the model into the run's folder, whole or not at all, and drop the checkpoints.

        The best weights are kept where there is patience, else the last.

        Args:
            story: Where the model comes from.
            base: The model folder that training started from, if any.
        """
        state = full_state(self.module.network)  # with sharding every process must ask
        if not self.trainer.is_global_zero:
            return
        recipe, data, settings = self.recipe, self.data, plain(self.recipe)
        network = new_network(recipe, data, base)
        _backbone(network).adapt()
        load_weights(network, self.validation.best_state or state, "The trained network")
        adapter = _backbone(network).settle()
        config = {
            "langmill": {
                "recipe": recipe.name,
                "task": {**settings["task"], "labels": list(data.task.labels)},
                "model": settings["model"],
                "max_length": data.task.context_length(recipe.training.block_length),
                "eot_id": data.tokenizer.eot_id,
            }
        }
        facts = {
            "recipe": recipe.name,
            "provenance": story.digest,
            "parts": story.parts,
            "base": story.base,
            "corpus": {"name": recipe.corpus.name, "digest": digest_of(story.parts["data"])},
            "training_split": {
                "documents": data.train.num_documents,
                "tokens": data.train.num_tokens,
                "bytes": data.train.num_bytes,
            },
            "parameters": sum(weight.numel() for weight in network.parameters()),
            "tokens_seen": self.figures.tokens_seen,
            "steps": self.module.step,
        }
        interface = interface_of(data.task, _backbone(network), config["langmill"]["max_length"])
        model = self.folder / FINISHED
        save_model(model, network, config, data.tokenizer.file, facts, adapter=adapter, interface=interface)
        remove_checkpoints(self.folder / CHECKPOINTS)


@contextlib.contextmanager
def told(recipe: Recipe, story: Provenance, run: Path, tracking_uri: str | None) -> Iterator[RunLog]:
    """Keep a run's log while a block works on it, say how it ends, and send it.

    Raises:
        BusyError: Another process is at work on the same run.
    """
    log = RunLog(run)
    with shipping(run, tracking_uri), log.told():
        log.start(
            experiment=recipe.name,
            name=f"{recipe.name}-{story.digest[:8]}",
            provenance=story.digest,
            params=plain(recipe),
            tags={"langmill.recipe": recipe.name, "langmill.code": digest_of(story.parts["code"])},
        )
        log.dataset(recipe.corpus.name, digest_of(story.parts["data"]), "the tokens of the training split", "training")
        yield log


def build_trainer(training: Training, accelerator: str, callbacks: list[pl.Callback]) -> pl.Trainer:
    """Lightning's trainer with everything switched off that costs time between two steps."""
    slurm: list[Any] = [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else []
    return pl.Trainer(
        accelerator=accelerator,
        devices=training.devices,
        num_nodes=training.machines,
        strategy=_strategy(training, accelerator),
        callbacks=callbacks,
        plugins=slurm,
        max_epochs=1,  # the loader ends when all steps are made
        use_distributed_sampler=False,
        barebones=True,
    )


def _strategy(training: Training, accelerator: str) -> LightningStrategy | str:
    processes = training.devices * training.machines
    if processes == 1:
        return "auto"
    backend = "nccl" if accelerator == "cuda" else "gloo"
    if is_sharding(training):
        return ModelParallelStrategy(
            data_parallel_size=processes, tensor_parallel_size=1, process_group_backend=backend
        )
    return DDPStrategy(process_group_backend=backend, gradient_as_bucket_view=True)


@contextlib.contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep Lightning's advice off the terminal; what matters is an error."""
    for name in ("pytorch_lightning", "lightning_fabric", "pytorch_lightning.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
