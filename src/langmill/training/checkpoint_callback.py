"""Resume a killed run, to the same final weights, byte for byte."""

from __future__ import annotations

import logging
from pathlib import Path

import pytorch_lightning as pl
import torch

from langmill.config.sections import Training
from langmill.files import sweep
from langmill.training import processes
from langmill.training.checkpoints import load_checkpoint, newest_valid, save_checkpoint, save_sharded_checkpoint
from langmill.training.guard import StepMetrics
from langmill.training.module import TrainingModule
from langmill.training.sharding import is_sharded, load_trained_state, trained_state
from langmill.training.validation import Validation

_logger = logging.getLogger(__name__)


class CheckpointCallback(pl.Callback):
    """Restores the newest valid checkpoint at the start, and writes one every `checkpoint_every` steps.

    Last in the list of callbacks, so that a checkpoint holds what the others did at its step. The first process
    writes, or where weights are sharded each its own part, and all read: with several nodes the folder must be on a
    disk that they share. Frozen weights are not stored: a training of the same provenance begins with the same ones.
    """

    def __init__(self, training: Training, folder: Path, step_metrics: StepMetrics, validation: Validation) -> None:
        self.training = training
        self.folder = folder
        self.step_metrics = step_metrics
        self.validation = validation
        self._random: torch.Tensor | None = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore the newest valid checkpoint."""
        assert isinstance(pl_module, TrainingModule)
        path = None
        if trainer.is_global_zero:
            sweep(self.folder)
            path = newest_valid(self.folder)
        path = processes.broadcast(path)
        if path is None:
            return
        state = load_checkpoint(path)
        load_trained_state(pl_module.network, state["network"])
        pl_module.optimizer.load_state_dict(state["optimizer"])
        pl_module.step = state["step"]
        self.step_metrics.load_state_dict(state["step_metrics"])
        self.validation.load_state_dict(state["validation"])
        self._random = state["random"][0 if is_sharded(pl_module.network) else trainer.global_rank]
        _logger.info("Resumed from %s.", path)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore or seed the random generators: last, whatever was drawn before."""
        if self._random is not None:
            processes.set_random_state(self._random)
        else:
            # Not the seed itself: the network was drawn from it, and each process drops out other positions.
            torch.manual_seed(self.training.seed + 1 + trainer.global_rank)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        """Save every `checkpoint_every` steps, except the last, which `LastStepCheckpoint` saves."""
        assert isinstance(pl_module, TrainingModule)
        step = pl_module.step
        if step % self.training.checkpoint_every or step >= self.training.steps or trainer.should_stop:
            return
        self.save(trainer, pl_module)

    def save(self, trainer: pl.Trainer, module: TrainingModule) -> None:
        """Write a checkpoint; every process must call it."""
        sharded, random = is_sharded(module.network), processes.random_state()
        state = {
            "step": module.step,
            "network": trained_state(module.network),
            "optimizer": module.optimizer.state_dict(),
            "random": [random] if sharded else processes.all_gather(random),
            "step_metrics": self.step_metrics.state_dict(),
            "validation": self.validation.state_dict(),
        }
        if sharded:
            save_sharded_checkpoint(self.folder, module.step, state)
        elif trainer.is_global_zero:
            save_checkpoint(self.folder, module.step, state)


class LastStepCheckpoint(pl.Callback):
    """Saves after the last step, before the last validation, so that a run killed there repeats no step.

    Between the logging and the validation in the list of callbacks.
    """

    def __init__(self, checkpoint_callback: CheckpointCallback) -> None:
        self.checkpoint_callback = checkpoint_callback
        self._first: int | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the step at which this process began."""
        assert isinstance(pl_module, TrainingModule)
        self._first = pl_module.step

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        """Save after the last step, unless this process began there."""
        assert isinstance(pl_module, TrainingModule)
        if pl_module.step == self.checkpoint_callback.training.steps != self._first:
            self.checkpoint_callback.save(trainer, pl_module)
