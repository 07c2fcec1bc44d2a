"""The one LightningModule, which trains any task's network."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from langmill.config.sections import Training, WeightFormat
from langmill.tasks.base import Task
from langmill.tasks.batching import Batch, MicroBatches
from langmill.training import processes
from langmill.training.bf16_weights import hold_in_bf16
from langmill.training.blocks import prepare_blocks, repeated_blocks
from langmill.training.data import StepLoader, count_tokens
from langmill.training.optimizer import ScheduledOptimizer, build_optimizer, clip_gradients
from langmill.training.sharding import shard


class Objective(nn.Module):
    """A network with its task's loss: one module to compile, to replicate or to shard."""

    def __init__(self, network: nn.Module, task: Task) -> None:
        super().__init__()
        self.network = network
        self.task = task

    def forward(self, batch: Batch) -> Tensor:
        """Compute the mean loss over the targets of a micro-batch, in nats."""
        return self.task.loss(self.network, batch)


def step_divisors(num_targets: Sequence[float], accumulation: int, device: torch.device) -> list[float]:
    """Divisors of the micro-batches' mean losses that make a step's loss the mean over all of its targets.

    A micro-batch is weighted by its share of the step's targets over all processes, times the number of processes,
    since they average their gradients. With equal numbers of targets the divisor is exactly the accumulation; without
    targets it is infinite. `num_targets` are those of this process's micro-batches, of all steps of a loop; the
    processes communicate by `device`.
    """
    own = torch.tensor(num_targets, dtype=torch.float64).view(len(num_targets) // accumulation, accumulation)
    of_steps = processes.mean(own.sum(dim=1).to(device) if processes.is_distributed() else own.sum(dim=1)).cpu()
    return (of_steps[:, None] / own).flatten().nan_to_num(nan=math.inf, posinf=math.inf).tolist()


class TrainingModule(pl.LightningModule):
    """Makes optimizer steps; logging, validation and checkpoints are callbacks.

    Lightning's batch holds several optimizer steps (see `langmill.training.data`).

    Attributes:
        network: The network being trained.
        step: Optimizer steps made since the start of training, resumed ones included.
        losses: Each step's loss since they were last taken, on the device; the mean over processes is the step's loss.
        norms: Likewise the gradients' global L2 norm before clipping.
        tokens: Likewise the number of tokens, padding left out.
        optimizer: The optimizer, from `on_fit_start` on.
    """

    optimizer: ScheduledOptimizer
    _weights: list[nn.Parameter]

    def __init__(
        self,
        network: nn.Module,
        task: Task,
        training: Training,
        batches: Callable[[int, int], MicroBatches],
        *,
        bf16: bool,
        sharded: bool,
    ) -> None:
        """Wrap a network; `batches` gives a process's micro-batches from its rank and the number of processes."""
        super().__init__()
        self.automatic_optimization = False
        self.objective = Objective(network, task)
        self.training_settings = training
        self.after_step: Callable[[], None] | None = None
        self.step = 0
        self.losses: list[Tensor] = []
        self.norms: list[Tensor] = []
        self.tokens = 0
        self._batches = batches
        self._num_targets: list[float] = []
        self._bf16 = bf16
        self._sharded = sharded

    @property
    def network(self) -> nn.Module:
        """The network being trained."""
        return self.objective.network

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Context in which matrix products have the chosen number format."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16)

    def configure_model(self) -> None:
        """Set the weights' format, compile and shard, once the other processes have started.

        Raises TrainingError where activations are to be recomputed, and the network has no blocks.
        """
        training = self.training_settings
        self.objective.task.before_training(self.network)
        if training.weights is WeightFormat.bf16:
            hold_in_bf16(self.network)
        has_blocks = bool(repeated_blocks(self.network))
        prepare_blocks(
            self.network, compiled=training.compile and has_blocks, recomputed=training.activation_checkpointing
        )
        if training.compile and not has_blocks:
            self.objective.compile()
        if self._sharded:
            assert self.device_mesh is not None
            shard(self.objective, self.device_mesh["data_parallel"], bf16=self._bf16)

    def configure_optimizers(self) -> ScheduledOptimizer:  # type: ignore[override]  # Lightning's protocol, not torch's class
        """Make the optimizer, which schedules its learning rate itself."""
        training = self.training_settings
        self.optimizer = build_optimizer(self.network, training.optimizer, training.steps, bf16=self._bf16)
        self._weights = [weight for weight in self.network.parameters() if weight.requires_grad]
        return self.optimizer

    def train_dataloader(self) -> StepLoader:
        """Make the loader over the steps that are left."""
        batches = self._batches(self.trainer.global_rank, self.trainer.world_size)
        return StepLoader(batches, self.training_settings, self.step)

    def transfer_batch_to_device(self, batch: list[Batch], device: torch.device, dataloader_idx: int) -> list[Batch]:
        """Count tokens and targets while they are on the CPU, and move the batches."""
        self.tokens += count_tokens(batch)
        self._num_targets = [self.objective.task.num_targets(item) for item in batch]
        if device.type == "cpu":
            return batch
        return [{name: tensor.to(device, non_blocking=True) for name, tensor in item.items()} for item in batch]

    def training_step(self, batch: list[Batch], batch_idx: int) -> None:
        """Make the optimizer steps of a loop."""
        accumulation = self.training_settings.accumulation
        divisors = step_divisors(self._num_targets, accumulation, self.device)
        for start in range(0, len(batch), accumulation):
            chosen = slice(start, start + accumulation)
            self._make_step(batch[chosen], divisors[chosen])

    def _make_step(self, micro_batches: list[Batch], divisors: list[float]) -> None:
        self.optimizer.zero_grad()
        losses = []
        for number, (batch, divisor) in enumerate(zip(micro_batches, divisors, strict=True), start=1):
            with self._exchange(number == len(micro_batches)):
                with self.autocast():
                    loss = self.objective(batch)
                if divisor != 1:
                    loss = loss / divisor
                losses.append(loss.detach())
                self._backward(loss)
        self.norms.append(clip_gradients(self._weights, self.training_settings.optimizer.gradient_clip))
        self.losses.append(losses[0] if len(losses) == 1 else torch.stack(losses).sum())
        self.optimizer.step()
        self.step += 1
        if self.after_step is not None:
            self.after_step()

    def _backward(self, loss: Tensor) -> None:
        """Run `manual_backward` without its unused hooks, which take a fifth of a millisecond."""
        strategy = self.trainer.strategy
        strategy.pre_backward(loss)
        loss.backward()  # type: ignore[no-untyped-call]
        strategy.post_backward(loss)

    def _exchange(self, last: bool) -> contextlib.AbstractContextManager[Any]:
        """Synchronise gradients with the last micro-batch of a step only."""
        model = self.trainer.strategy.model
        if isinstance(model, DistributedDataParallel) and not last:
            return model.no_sync()
        if self._sharded:
            self.objective.set_requires_gradient_sync(last)  # type: ignore[operator]  # fully_shard adds it
        return contextlib.nullcontext()
