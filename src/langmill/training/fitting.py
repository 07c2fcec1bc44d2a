"""One training from its first step to the saved model, by Lightning's trainer."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from pytorch_lightning.strategies import DDPStrategy, ModelParallelStrategy
from pytorch_lightning.strategies.strategy import Strategy as LightningStrategy
from torch import nn

from langmill.config.compose import plain
from langmill.config.sections import Recipe, Training
from langmill.files import digest_of
from langmill.models.folder import load_weights, save_model
from langmill.tasks.loading import interface_of
from langmill.tracking.run_log import RunLog
from langmill.training.build import Data, backbone_of, new_network
from langmill.training.checkpoints import CHECKPOINTS, remove_checkpoints
from langmill.training.continuation import Continuation, LastStep
from langmill.training.finished import FINISHED
from langmill.training.guard import Figures
from langmill.training.hardware import (
    check_compiler,
    choose_accelerator,
    is_sharding,
    peak_flops,
    uses_bf16,
)
from langmill.training.module import TrainingModule
from langmill.training.provenance import Provenance
from langmill.training.reporting import Reporter
from langmill.training.sharding import full_state
from langmill.training.signals import OwnSignals, interruptible
from langmill.training.validation import Validation


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
    def reported(self, told: AbstractContextManager[RunLog]) -> Iterator[None]:
        """Let the first process write the run's log, once `told` is entered, and show how far the training is."""
        if not self.trainer.is_global_zero:
            yield
            return
        with told as self.reporter.run_log, contextlib.ExitStack() as self.reporter.closing:
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

        The best weights are kept where training may stop early, else the last.

        Args:
            story: Where the model comes from.
            base: The model folder that training started from, if any.
        """
        state = full_state(self.module.network)  # with sharding every process must ask
        if not self.trainer.is_global_zero:
            return
        recipe, data, settings = self.recipe, self.data, plain(self.recipe)
        network = new_network(recipe, data, base)
        backbone_of(network).adapt()
        load_weights(network, self.validation.best_state or state, "The trained network")
        adapter = backbone_of(network).settle()
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
        interface = interface_of(data.task, backbone_of(network), config["langmill"]["max_length"])
        model = self.folder / FINISHED
        save_model(model, network, config, data.tokenizer.file, facts, adapter=adapter, interface=interface)
        remove_checkpoints(self.folder / CHECKPOINTS)


def build_trainer(training: Training, accelerator: str, callbacks: list[pl.Callback]) -> pl.Trainer:
    """Lightning's trainer with everything switched off that costs time between two steps."""
    slurm: list[Any] = [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else []
    return pl.Trainer(
        accelerator=accelerator,
        devices=training.devices,
        num_nodes=training.nodes,
        strategy=_strategy(training, accelerator),
        callbacks=callbacks,
        plugins=slurm,
        max_epochs=1,  # the loader ends when all steps are made
        use_distributed_sampler=False,
        barebones=True,
    )


def _strategy(training: Training, accelerator: str) -> LightningStrategy | str:
    processes = training.devices * training.nodes
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
