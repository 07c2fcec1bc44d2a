"""Going on where a killed run stopped, to the same final weights, byte for byte."""

from __future__ import annotations

import logging
from pathlib import Path

import pytorch_lightning as pl
import torch

from langmill.config.sections import Training
from langmill.training import processes
from langmill.training.checkpoints import load_checkpoint, newest_valid, remove_leftovers, save_checkpoint
from langmill.training.guard import Figures
from langmill.training.module import TrainingModule
from langmill.training.sharding import full_optimizer_state, full_state, load_full_optimizer_state, load_full_state
from langmill.training.validation import Validation

_logger = logging.getLogger(__name__)


class Continuation(pl.Callback):
    """Puts the newest valid checkpoint's state back at the start, and writes one every `checkpoint_every` steps.

    Last in the list of callbacks, so that a checkpoint holds what the others did at its step. The first process
    writes, all read: with several machines the folder must be on a disk that they share.
    """

    def __init__(self, training: Training, folder: Path, figures: Figures, validation: Validation) -> None:
        """Set up.

        Args:
            training: The settings.
            folder: The run's own folder of checkpoints.
            figures: Its state is part of a checkpoint.
            validation: Likewise.
        """
        self.training = training
        self.folder = folder
        self.figures = figures
        self.validation = validation
        self._random: torch.Tensor | None = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put everything back as it was."""
        assert isinstance(pl_module, TrainingModule)
        path = None
        if trainer.is_global_zero:
            remove_leftovers(self.folder)
            path = newest_valid(self.folder)
        path = processes.from_first(path)
        if path is None:
            return
        state = load_checkpoint(path)
        load_full_state(pl_module.network, state["network"])
        load_full_optimizer_state(pl_module.network, pl_module.optimizer, state["optimizer"])
        pl_module.step = state["step"]
        self.figures.load_state_dict(state["figures"])
        self.validation.load_state_dict(state["validation"])
        self._random = state["random"][trainer.global_rank]
        _logger.info("Going on from %s.", path)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the random generators back, or seed them: only here, since making the data's iterator draws a number."""
        if self._random is not None:
            processes.set_random_state(self._random)
        else:
            # Not the seed itself: the network was drawn from it, and each process drops out other places.
            torch.manual_seed(self.training.seed + 1 + trainer.global_rank)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        """Save every `checkpoint_every` steps, though not at the end: `LastStep` has done so."""
        assert isinstance(pl_module, TrainingModule)
        step = pl_module.step
        if step % self.training.checkpoint_every or step >= self.training.steps or trainer.should_stop:
            return
        self.save(trainer, pl_module)

    def save(self, trainer: pl.Trainer, module: TrainingModule) -> None:
        """Write a checkpoint; every process must ask."""
        state = {
            "step": module.step,
            "network": full_state(module.network),
            "optimizer": full_optimizer_state(module.network, module.optimizer),
            "random": processes.of_all(processes.random_state()),
            "figures": self.figures.state_dict(),
            "validation": self.validation.state_dict(),
        }
        if trainer.is_global_zero:
            save_checkpoint(self.folder, module.step, state)


class LastStep(pl.Callback):
    """Saves once all steps are made, before the last validation, so that a run killed after them repeats none.

    Between the logging and the validation in the list of callbacks.
    """

    def __init__(self, continuation: Continuation) -> None:
        self.continuation = continuation
        self._first: int | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remember where this process began."""
        assert isinstance(pl_module, TrainingModule)
        self._first = pl_module.step

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        """Save after the last step, unless this process began there."""
        assert isinstance(pl_module, TrainingModule)
        if pl_module.step == self.continuation.training.steps != self._first:
            self.continuation.save(trainer, pl_module)
