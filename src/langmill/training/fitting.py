"""One training, from its first step to the saved model, with Lightning's trainer."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from pytorch_lightning.strategies import DDPStrategy, ModelParallelStrategy, ParallelStrategy
from pytorch_lightning.strategies.strategy import Strategy as LightningStrategy
from torch import nn
from torch.distributed import (  # type: ignore[attr-defined]  # in its documentation alone
    DistNetworkError,
    DistStoreError,
    TCPStore,
)

from langmill.config.compose import plain
from langmill.config.sections import Recipe, Training
from langmill.errors import TransientError
from langmill.files import digest_of
from langmill.models.folder import load_weights, save_model
from langmill.tasks.loading import interface_of
from langmill.tracking.run_log import RunLog
from langmill.training import processes
from langmill.training.build import Data, backbone_of, new_network
from langmill.training.checkpoint_callback import CheckpointCallback, LastStepCheckpoint
from langmill.training.checkpoints import CHECKPOINTS
from langmill.training.finished import FINISHED
from langmill.training.guard import StepMetrics
from langmill.training.hardware import (
    check_compiler,
    check_weights,
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

_CLIENTS_ALONE = "TORCHELASTIC_USE_AGENT_STORE"
"""The environment variable by which torch's processes look for a store and host none."""

OF_A_LAUNCHER = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "RANK", "LOCAL_RANK", "WORLD_SIZE", _CLIENTS_ALONE)
"""What launchers write into the environment, Lightning's own among them."""


class Fitting:
    """One training: the module, the callbacks around it, and Lightning's trainer.

    Attributes:
        module: Makes the optimizer steps.
        trainer: Lightning's trainer.
        step_metrics: Losses, gradient norms and token counts.
    """

    def __init__(self, recipe: Recipe, data: Data, network: nn.Module, run: Path) -> None:
        """Build the module, the callbacks and the trainer; `run` is the run's own folder.

        Raises TrainingError where the machine lacks what the settings ask for.
        """
        training = recipe.training
        accelerator = choose_accelerator(training)
        check_compiler(training, accelerator)
        bf16 = uses_bf16(training, accelerator)
        check_weights(training, bf16=bf16)
        self.recipe = recipe
        self.folder = run
        self.data = data
        batches, sharded = data.micro_batches(training), is_sharding(training)
        self.module = TrainingModule(network, data.task, training, batches, bf16=bf16, sharded=sharded)
        self.step_metrics = StepMetrics()
        self.reporter = Reporter(
            recipe.name,
            training,
            self.step_metrics,
            flops_per_token=getattr(network, "flops_per_token", None),
            peak_flops=peak_flops(training, accelerator, bf16=bf16),
        )
        self.validation = Validation(training, data.validation_batches(training), data.tokenizer, self.reporter)
        checkpoint_callback = CheckpointCallback(training, run / CHECKPOINTS, self.step_metrics, self.validation)
        last_step = LastStepCheckpoint(checkpoint_callback)
        callbacks = [self.step_metrics, self.reporter, last_step, self.validation, checkpoint_callback, OwnSignals()]
        self.trainer = build_trainer(training, accelerator, callbacks)
        self._store: TCPStore | None = None

    @contextlib.contextmanager
    def reported(self, tracked_run: AbstractContextManager[RunLog]) -> Iterator[None]:
        """Log metrics to the run and show progress while the block works; on the first process only."""
        if not self.trainer.is_global_zero:
            yield
            return
        with tracked_run as self.reporter.run_log, contextlib.ExitStack() as self.reporter.closing:
            yield

    def run(self) -> None:
        """Train to the end. Raises TrainingError where the loss or the gradient norm stopped being a number."""
        with interruptible(self.trainer), meeting_point(self.trainer) as self._store:
            self.trainer.fit(self.module)

    def save(self, provenance: Provenance, base: Path | None) -> None:
        """Write the model into the run's folder, whole or not at all, and remove the checkpoints.

        With early stopping the weights with the best validation loss are saved, else the last ones.
        """
        state = full_state(self.module.network)  # with sharding every process must call it
        processes.wait_for_all()
        if not self.trainer.is_global_zero:
            return
        recipe, data, settings = self.recipe, self.data, plain(self.recipe)
        network = new_network(recipe, data, base)
        backbone_of(network).prepare_for_training(network)
        load_weights(network, {**state, **self.validation.best_state}, "The trained network")
        adapter = backbone_of(network).merge_adapter(network)
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
            "provenance": provenance.digest,
            "parts": provenance.parts,
            "base": provenance.base,
            **({"pretrained": provenance.pretrained} if provenance.pretrained else {}),
            "corpus": {"name": recipe.corpus.name, "digest": digest_of(provenance.parts["data"])},
            "training_split": {
                "documents": data.train.num_documents,
                "tokens": data.train.num_tokens,
                "bytes": data.train.num_bytes,
            },
            "parameters": sum(weight.numel() for weight in network.parameters()),
            "tokens_seen": self.step_metrics.tokens_seen,
            "steps": self.module.step,
        }
        interface = interface_of(data.task, backbone_of(network), config["langmill"]["max_length"], data.tokenizer)
        model = self.folder / FINISHED
        save_model(model, network, config, data.tokenizer.file, facts, adapter=adapter, interface=interface)
        shutil.rmtree(self.folder / CHECKPOINTS, ignore_errors=True)


def build_trainer(training: Training, accelerator: str, callbacks: list[pl.Callback]) -> pl.Trainer:
    """Make Lightning's trainer with everything switched off that costs time between two steps."""
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
    size = training.devices * training.nodes
    backend = "nccl" if accelerator == "cuda" else "gloo"
    if is_sharding(training):
        return ModelParallelStrategy(data_parallel_size=size, tensor_parallel_size=1, process_group_backend=backend)
    if size == 1:
        return "auto"
    return DDPStrategy(process_group_backend=backend, gradient_as_bucket_view=True)


@contextlib.contextmanager
def meeting_point(trainer: pl.Trainer) -> Iterator[TCPStore | None]:
    """Hold the port at which processes meet that Lightning is about to start on this machine.

    Lightning looks for a free port and has the first process listen on it once all are started, by when any other
    program may have it. The store is ours, and all processes are its clients, as under torchrun. It must live as long
    as their process group, beyond this block; None where others start the processes, or there is one. Of the
    environment, a launcher's variables are left as they were.

    Raises TransientError where the processes can't reach each other: the port of another launcher may be taken, a
    machine away.
    """
    environment = trainer.strategy.cluster_environment if isinstance(trainer.strategy, ParallelStrategy) else None
    own = isinstance(environment, LightningEnvironment) and trainer.num_nodes == 1
    store: TCPStore | None = None
    before = {name: os.environ.get(name) for name in OF_A_LAUNCHER}
    try:
        if own and not {"LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"}.intersection(os.environ):
            store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
            os.environ |= {"MASTER_PORT": str(store.port), _CLIENTS_ALONE: "True"}
        yield store
    except (DistNetworkError, DistStoreError) as error:
        place = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise TransientError(
            f"The processes of this training can't reach each other at {place} (MASTER_ADDR and MASTER_PORT): {error}. "
            "Look whether another program has that port, and whether the other machines can reach it.",
            "unreachable",
        ) from error
    finally:  # Lightning leaves its own: what this process starts or trains next would take them for a launcher's
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep Lightning's log lines and warnings off the terminal."""
    for name in ("pytorch_lightning", "lightning_fabric", "pytorch_lightning.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
