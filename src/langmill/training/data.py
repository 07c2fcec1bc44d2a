"""Batches for the training loop, several optimizer steps at a time.

Lightning's loop spends about a millisecond of Python on every batch that it is given. So it is given a *span*: the
micro-batches of all optimizer steps up to the next one at which something else happens (a log line, a validation, a
checkpoint). See docs/decisions/0301-spans.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from langmill.config.sections import Training
from langmill.tasks.batching import Batch, MicroBatches

_MICRO_BATCHES_AT_ONCE = 64


@dataclass(frozen=True)
class Span:
    """Optimizer steps `first` to `end` (left out), counted from the start of training."""

    first: int
    end: int


def spans(start: int, training: Training) -> Iterator[Span]:
    """The rest of a training from step `start` on, cut wherever something happens between two steps.

    Where all steps are made, one without any: what follows the last step is still to be done.
    """
    if start == training.steps:
        yield Span(start, start)
    longest = max(1, _MICRO_BATCHES_AT_ONCE // training.accumulation)
    events = (training.log_every, training.validate_every, training.checkpoint_every)
    while start < training.steps:
        end = min(training.steps, start + longest, *(every * (start // every + 1) for every in events))
        yield Span(start, end)
        start = end


class SpanBatches(Dataset[list[Batch]]):
    """The micro-batches of spans: item `Span(a, b)` is always the same list, whoever asks and when."""

    def __init__(self, batches: MicroBatches, accumulation: int) -> None:
        self._batches = batches
        self._accumulation = accumulation

    def __getitem__(self, span: Span) -> list[Batch]:
        first, end = span.first * self._accumulation, span.end * self._accumulation
        return [self._batches[index] for index in range(first, end)]


def span_loader(batches: MicroBatches, training: Training, start: int) -> DataLoader[list[Batch]]:
    """A loader over the rest of a training: its order is a function of the settings and the step alone."""
    return DataLoader(
        SpanBatches(batches, training.accumulation),
        batch_size=None,
        sampler=list(spans(start, training)),
        num_workers=0,
        collate_fn=_as_it_is,
        generator=torch.Generator(),  # each new iterator draws a number, which must not be one of dropout's
    )


def _as_it_is(span: list[Batch]) -> list[Batch]:
    return span


def count_tokens(batches: Sequence[Batch]) -> int:
    """Tokens in batches, padding left out: a padded batch says its sequences' `lengths`."""
    return sum(_real_tokens(batch) for batch in batches)


def _real_tokens(batch: Batch) -> int:
    lengths: Tensor | None = batch.get("lengths")
    return int(lengths.sum()) if lengths is not None else batch["tokens"].numel()
