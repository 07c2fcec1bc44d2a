"""Batches for the training loop, several optimizer steps at a time.

Lightning's loop spends about a millisecond of Python on every batch that it gets. So what it gets as one batch is the
micro-batches of several optimizer steps: all up to the next step at which something else happens (a log line, a
validation, a checkpoint). See docs/decisions/0301-several-steps-per-loop.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from langmill.config.sections import Training
from langmill.tasks.batching import Batch, MicroBatches

_MICRO_BATCHES_PER_LOOP = 64


@dataclass(frozen=True)
class StepRange:
    """The optimizer steps of one loop, `first` to `end` (exclusive), counted from the start of training."""

    first: int
    end: int


def step_ranges(start: int, training: Training) -> Iterator[StepRange]:
    """Divide the rest of a training, from step `start` on, wherever something happens between two steps.

    Yields one empty range where all steps are made: the last validation may still be missing.
    """
    if start == training.steps:
        yield StepRange(start, start)
    steps_per_loop = max(1, _MICRO_BATCHES_PER_LOOP // training.accumulation)
    events = (training.log_every, training.validate_every, training.checkpoint_every)
    while start < training.steps:
        end = min(training.steps, start + steps_per_loop, *(every * (start // every + 1) for every in events))
        yield StepRange(start, end)
        start = end


class StepBatches(Dataset[list[Batch]]):
    """The micro-batches of step ranges; an item depends on its `StepRange` alone."""

    def __init__(self, batches: MicroBatches, accumulation: int) -> None:
        self._batches = batches
        self._accumulation = accumulation

    def __getitem__(self, steps: StepRange) -> list[Batch]:
        first, end = steps.first * self._accumulation, steps.end * self._accumulation
        return [self._batches[index] for index in range(first, end)]


def step_loader(batches: MicroBatches, training: Training, start: int) -> DataLoader[list[Batch]]:
    """Make a loader over the rest of a training; its order depends on the settings and the step alone."""
    return DataLoader(
        StepBatches(batches, training.accumulation),
        batch_size=None,
        sampler=list(step_ranges(start, training)),
        num_workers=0,
        collate_fn=_identity,
        generator=torch.Generator(),  # each new iterator draws a number, which must not be one of dropout's
    )


def _identity(batches: list[Batch]) -> list[Batch]:
    return batches


def count_tokens(batches: Sequence[Batch]) -> int:
    """Number of tokens in batches, padding excluded: a padded batch has the `lengths` of its sequences."""
    return sum(_real_tokens(batch) for batch in batches)


def _real_tokens(batch: Batch) -> int:
    lengths: Tensor | None = batch.get("lengths")
    return int(lengths.sum()) if lengths is not None else batch["tokens"].numel()
