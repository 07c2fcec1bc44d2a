"""Validation during training, and early stopping."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from langmill.config.sections import Training
from langmill.tasks.batching import Batch
from langmill.tokenization.tokenizer import Tokenizer
from langmill.training import processes
from langmill.training.module import TrainingModule
from langmill.training.reporting import Reporter
from langmill.training.sharding import full_state, is_sharded

_logger = logging.getLogger(__name__)


class Validation(pl.Callback):
    """Measures the validation loss and logs samples; with early stopping, keeps the best weights.

    Attributes:
        best_loss: The lowest validation loss so far.
        best_state: The trained weights that had it, on the first process, with early stopping.
    """

    def __init__(self, training: Training, batches: Sequence[Batch], tokenizer: Tokenizer, reporter: Reporter) -> None:
        """Set up; the batches are the same at every validation and in every process, and may be none."""
        self.training = training
        self.batches = batches
        self.tokenizer = tokenizer
        self.reporter = reporter
        self.best_loss = float("inf")
        self.best_state: dict[str, Tensor] = {}
        self.without_progress = 0

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        """Validate every `validate_every` steps and after the last one."""
        assert isinstance(pl_module, TrainingModule)
        step = pl_module.step
        if step % self.training.validate_every and step != self.training.steps:
            return
        gpus = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        with self.reporter.stopwatch.paused(), torch.random.fork_rng(devices=gpus):
            if self.batches:
                loss = validation_loss(pl_module, self.batches, trainer.global_rank, trainer.world_size)
                self.reporter.write({"validation/loss": loss}, step)
                self._judge(loss, trainer, pl_module)
            self._write_samples(trainer, pl_module)

    def _judge(self, loss: float, trainer: pl.Trainer, module: TrainingModule) -> None:
        if loss < self.best_loss:
            self.best_loss, self.without_progress = loss, 0
            if self.training.early_stopping_patience:
                self.best_state = full_state(module.network, trained_only=True)
        else:
            self.without_progress += 1
        if self.training.early_stopping_patience and self.without_progress >= self.training.early_stopping_patience:
            _logger.info("Stopped at step %d: no better loss in %d validations.", module.step, self.without_progress)
            trainer.should_stop = True

    def _write_samples(self, trainer: pl.Trainer, module: TrainingModule) -> None:
        if not (trainer.is_global_zero and self.training.samples) or is_sharded(module.network):
            return  # a sharded network can only be asked by all processes at once
        task, network = module.objective.task, module.network
        network.eval()
        with torch.no_grad(), module.autocast():
            prompts, seed = self.training.samples, self.training.seed
            texts = [task.sample(network, self.tokenizer, prompt, seed) for prompt in prompts]
        network.train()
        self.reporter.samples(prompts, texts, module.step)

    def state_dict(self) -> dict[str, Any]:
        """The state that an exact resume needs."""
        return {key: getattr(self, key) for key in ("best_loss", "best_state", "without_progress")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state that `state_dict` returned."""
        for key, value in state_dict.items():
            setattr(self, key, value)


@torch.no_grad()
def validation_loss(module: TrainingModule, batches: Sequence[Batch], rank: int, world_size: int) -> float:
    """Compute the mean loss in nats over all targets; the processes share the batches.

    With sharded weights all processes must make the same number of forward passes, so those that run out of batches
    repeat the first with weight zero.
    """
    # The plain function: a compiled one would be compiled anew for evaluation, which takes longer than it saves.
    judge = module.objective if is_sharded(module.network) else module.objective.forward
    sums = torch.zeros(2, dtype=torch.float64)
    module.objective.eval()
    for first in range(0, len(batches), world_size):
        index = first + rank
        batch = batches[index if index < len(batches) else 0]
        with module.autocast():
            mean = judge({name: tensor.to(module.device) for name, tensor in batch.items()})
        if index < len(batches):
            items = module.objective.task.num_targets(batch)
            sums += torch.tensor([float(mean) * items, items], dtype=torch.float64)
    module.objective.train()
    nats, items = processes.all_reduce(sums.to(module.device) if module.device.type == "cuda" else sums).tolist()
    return float(nats / items)
