"""Batches for the training loop, several optimizer steps at a time.

Lightning's loop spends about a millisecond of Python on every batch that it gets. So what it gets as one batch is the
micro-batches of several optimizer steps: all up to the next step at which something else happens (a log line, a
validation, a checkpoint). See docs/decisions/0301-several-steps-per-loop.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from langmill.config.sections import Training
from langmill.tasks.batching import Batch, MicroBatches

_MICRO_BATCHES_PER_LOOP = 64


def step_ranges(start: int, training: Training) -> Iterator[range]:
    """Divide the rest of a training, from step `start` on, wherever something happens between two steps.

    Yields one empty range where all steps are made: the last validation may still be missing.
    """
    if start == training.steps:
        yield range(start, start)
    steps_per_loop = max(1, _MICRO_BATCHES_PER_LOOP // training.accumulation)
    events = (training.log_every, training.validate_every, training.checkpoint_every)
    while start < training.steps:
        end = min(training.steps, start + steps_per_loop, *(every * (start // every + 1) for every in events))
        yield range(start, end)
        start = end


class StepLoader:
    """What is left of a training from step `start` on, as the micro-batches of one loop after the other.

    Their order depends on the settings and the step alone.
    """

    def __init__(self, batches: MicroBatches, training: Training, start: int) -> None:
        self._batches = batches
        self._accumulation = training.accumulation
        self._ranges = list(step_ranges(start, training))

    def __len__(self) -> int:
        return len(self._ranges)

    def __iter__(self) -> Iterator[list[Batch]]:
        for steps in self._ranges:
            first, end = steps.start * self._accumulation, steps.stop * self._accumulation
            yield [self._batches[index] for index in range(first, end)]


def count_tokens(batches: Sequence[Batch]) -> int:
    """Number of tokens in batches, padding excluded: a padded batch has the `lengths` of its sequences."""
    return sum(int(batch["lengths"].sum()) if "lengths" in batch else batch["tokens"].numel() for batch in batches)
