"""Training that ends with its time, for comparisons at equal cost."""

from __future__ import annotations

import time
from collections.abc import Callable
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


@dataclass(frozen=True)
class Trained:
    """What a training came to."""

    steps: int
    tokens: int
    seconds: float


def train_for(
    network: LanguageModel, batches: MicroBatches, seconds: float, on_seconds: Callable[[float], object]
) -> Trained:
    """Train a language model for so many seconds of processor time, divided by torch's threads.

    That is the time it would take on a machine that does nothing else. The learning rate's course follows the time
    that is spent, so a network whose steps are slow makes fewer of them and still ends its course.

    Args:
        network: The network, on the CPU; trained in place.
        batches: The data, by step.
        seconds: The time.
        on_seconds: Called after each step with the seconds that it took.
    """
    network.train()
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    decayed = [parameter for parameter in parameters if parameter.dim() == 2]
    others = [parameter for parameter in parameters if parameter.dim() != 2]
    groups = [{"params": decayed, "weight_decay": _WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=_LEARNING_RATE, betas=_BETAS, fused=True)
    threads = torch.get_num_threads()
    spent = 0.0
    steps = tokens = 0
    while spent < seconds:
        began = time.process_time()
        for group in optimizer.param_groups:
            place = int(_COURSE * spent / seconds)
            group["lr"] = _LEARNING_RATE * schedule(place, _COURSE, _WARMUP, _FINAL)
        batch = batches[steps]
        optimizer.zero_grad(set_to_none=True)
        network.loss(batch["tokens"], batch["targets"]).backward()  # type: ignore[no-untyped-call]
        clip_gradients(parameters, _LARGEST_NORM)
        optimizer.step()
        taken = (time.process_time() - began) / threads
        steps, tokens, spent = steps + 1, tokens + batch["targets"].numel(), spent + taken
        on_seconds(taken)
    network.eval()
    return Trained(steps, tokens, spent)
