"""Training that ends with its time, for comparisons at equal cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from langmill.models.heads import LanguageModel
from langmill.tasks.batching import MicroBatches
from langmill.training.optimizer import clip_gradients, schedule

_LEARNING_RATE = 3e-3
_BETAS = (0.9, 0.95)
_WEIGHT_DECAY = 0.1
_LARGEST_NORM = 1.0
_COURSE, _WARMUP, _FINAL = 1000, 50, 0.1
"""The learning rate's course, in thousandths of the time: so many of warm-up, and the share of the peak at the end."""


@dataclass
class Training:
    """A training that goes on step by step, and what it came to."""

    network: LanguageModel
    """On the CPU; trained in place."""
    batches: MicroBatches
    """The data, by step."""
    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0
    """Processor time of its steps."""


def train_for(trainings: Sequence[Training], seconds: float, on_seconds: Callable[[float], object]) -> None:
    """Train language models for so many seconds of processor time each, on one thread.

    Several threads wait for each other at work, so that what else the machine does would count. The next step is that
    of the model that has had the least time, so that it makes all of them slow alike. The learning rate's course
    follows the time that is spent, so a network whose steps are slow makes fewer of them and still ends its course.

    Args:
        trainings: The models, none of which has begun.
        seconds: The time.
        on_seconds: Called after each step with the seconds that it took.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        steps = [(training, _steps(training, seconds)) for training in trainings]
        while (least := min(steps, key=lambda each: each[0].seconds))[0].seconds < seconds:
            on_seconds(next(least[1]))
    finally:
        torch.set_num_threads(threads)
    for training in trainings:
        training.network.eval()


def _steps(training: Training, seconds: float) -> Iterator[float]:
    """Make steps; each gives the seconds that it took."""
    network = training.network
    network.train()
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    decayed = [parameter for parameter in parameters if parameter.dim() == 2]
    others = [parameter for parameter in parameters if parameter.dim() != 2]
    groups = [{"params": decayed, "weight_decay": _WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=_LEARNING_RATE, betas=_BETAS, fused=True)
    while True:
        began = time.process_time()
        for group in optimizer.param_groups:
            place = int(_COURSE * training.seconds / seconds)
            group["lr"] = _LEARNING_RATE * schedule(place, _COURSE, _WARMUP, _FINAL)
        batch = training.batches[training.steps]
        optimizer.zero_grad(set_to_none=True)
        network.loss(batch["tokens"], batch["targets"]).backward()  # type: ignore[no-untyped-call]
        clip_gradients(parameters, _LARGEST_NORM)
        optimizer.step()
        taken = time.process_time() - began
        training.steps += 1
        training.tokens += batch["targets"].numel()
        training.seconds += taken
        yield taken
