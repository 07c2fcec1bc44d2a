"""Where a training step's time goes, and the least that its matrix products alone would take on this machine.

    python benchmarks/step.py                     # the shape of reviews-lm, fp32, random tokens
    python benchmarks/step.py --precision bf16

Ours and GPT-2 of transformers (what the Hugging Face Trainer of `training.py speed` trains), with the same number of
layers, width, heads, vocabulary, block length and batch, make the same step in turns: forward and backward pass, clip,
AdamW. torch's profiler says which operations take the time, and with which shapes. Beside every step each of its matrix
products is timed alone, on operands of its own that no other operation has written: the machine's speed drifts, so that
the two must be measured together. The sum is the floor: what a step would take if all else were free. Hugging Face's
step over our floor is the largest ratio that any implementation of this shape could reach here in this number format.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import math
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))
PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm")
KINDS = {
    "attention": ("_scaled_dot_product",),
    "loss": ("log_softmax", "nll_loss", "aten::exp_", "gather", "index"),
    "norms": ("norm", "rsqrt"),
    "copies and fills": ("copy_", "fill_", "zero_"),
}
Shapes = tuple[tuple[int, ...], ...]


@dataclasses.dataclass
class Stepper:
    """One model's step, and how long each of its parts took."""

    loss: Callable[[], torch.Tensor]
    weights: list[nn.Parameter]
    optimizer: Any
    context: Callable[[], contextlib.AbstractContextManager[Any]]
    parts: dict[str, list[float]] = dataclasses.field(default_factory=dict)

    def learn(self) -> None:
        """Forward and backward pass."""
        self.optimizer.zero_grad()
        with self.context():
            loss = self.loss()
        loss.backward()

    def step(self) -> None:
        """Make a step and note its parts, in milliseconds."""
        times = [time.perf_counter()]
        for part in (self.learn, lambda: nn.utils.clip_grad_norm_(self.weights, 1.0), self.optimizer.step):
            part()
            times.append(time.perf_counter())
        for name, began, ended in zip(("forward and backward", "clip", "optimizer"), times, times[1:], strict=False):
            self.parts.setdefault(name, []).append(1000 * (ended - began))

    def milliseconds(self) -> dict[str, float]:
        """Median of each part."""
        return {name: statistics.median(times) for name, times in self.parts.items()}


class Floor:
    """A step's products and nothing else: how long they take, in milliseconds a step."""

    def __init__(self, products: Counter[Shapes], dtype: torch.dtype) -> None:
        self.times: list[float] = []
        self.flop = sum(count * 2.0 * math.prod(left) * right[-1] for (left, right), count in products.items())
        operands = [[torch.randn(shape, dtype=dtype) for shape in shapes] for shapes in products]
        counts = products.values()
        self._products = [(*pair, torch.matmul(*pair), count) for pair, count in zip(operands, counts, strict=True)]

    def multiply(self) -> None:
        """Make each product once and note what all of a step take."""
        total = 0.0
        for left, right, out, count in self._products:
            began = time.perf_counter()
            torch.matmul(left, right, out=out)
            total += count * 1000 * (time.perf_counter() - began)
        self.times.append(total)


def main() -> None:
    """Parse, measure and print."""
    from benchmarks.training import recipe_settings
    from langmill.config.compose import compose_tokenizer

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--steps", type=int, default=60)
    arguments = parser.parse_args()
    job = {"shape": "small", "steps": 1000, "device": "cpu"}  # of the schedule, whatever number is measured
    settings = recipe_settings(job, precision=arguments.precision)
    training = settings["training"]
    torch.set_num_threads(training["threads"])
    torch.set_flush_denormal(True)
    torch.manual_seed(1)
    vocab_size = compose_tokenizer(settings["tokenizer"]["name"], conf=REPOSITORY / "conf").vocab_size
    ids = torch.randint(vocab_size, (training["batch_size"], training["block_length"] + 1))
    models = {
        "langmill": _langmill(settings, ids, vocab_size),
        "GPT-2 of transformers": _gpt2(settings, ids, vocab_size),
    }
    kinds, floors = {}, {}
    for name, stepper in models.items():
        for _ in range(5):  # the first steps allocate
            stepper.learn()
        kinds[name], products = _operations(stepper, vocab_size)
        floors[name] = Floor(products, torch.bfloat16 if arguments.precision == "bf16" else torch.float32)
    for _ in range(arguments.steps):
        for name, stepper in models.items():
            stepper.step()
            floors[name].multiply()
    tokens = training["batch_size"] * training["block_length"]
    print(
        f"{tokens} tokens a step, {training['threads']} threads, {arguments.precision}; medians of {arguments.steps}\n"
    )
    totals, alone = {}, {}
    for name, stepper in models.items():
        parts = stepper.milliseconds()
        totals[name], alone[name] = sum(parts.values()), statistics.median(floors[name].times)
        print(f"{name}: {totals[name]:.1f} ms a step, {1000 * tokens / totals[name]:,.0f} tokens/s")
        for part, taken in parts.items():
            print(f"  {part:24} {taken:7.1f} ms")
        for kind, share in kinds[name].most_common():
            print(f"    {kind:22} {share:6.1%} of forward and backward")
        print(
            f"  its products alone       {alone[name]:7.1f} ms, {floors[name].flop / alone[name] / 1e6:.0f} GFLOP/s\n"
        )
    ours, theirs = models
    print(f"ratio of the steps         {totals[theirs] / totals[ours]:.2f}")
    print(f"largest possible here      {totals[theirs] / alone[ours]:.2f}  (their step over our products alone)")


def _context(precision: str) -> Callable[[], contextlib.AbstractContextManager[Any]]:
    return lambda: torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")


def _langmill(settings: dict[str, Any], ids: torch.Tensor, vocab_size: int) -> Stepper:
    from langmill.config.sections import Recipe
    from langmill.config.typed import typed
    from langmill.models.base import build_backbone
    from langmill.tasks.base import build_task
    from langmill.training.optimizer import build_optimizer

    recipe = typed(Recipe, settings, "benchmark")
    task = build_task(recipe.task.name, recipe.task.options, (), "benchmark")
    architecture, options = recipe.model.architecture, recipe.model.options
    network = task.network(build_backbone(architecture, options, vocab_size, recipe.training.block_length, "benchmark"))
    batch = {"tokens": ids[:, :-1], "targets": ids[:, 1:]}
    return Stepper(
        lambda: task.loss(network, batch),
        list(network.parameters()),
        build_optimizer(network, recipe.training.optimizer, recipe.training.steps),
        _context(settings["training"]["precision"]),
    )


def _gpt2(settings: dict[str, Any], ids: torch.Tensor, vocab_size: int) -> Stepper:
    from benchmarks.peers.gpt2 import gpt2
    from benchmarks.training import LEARNING_RATE, shape_of

    network, ids = gpt2(**shape_of(settings, vocab_size)), ids[:, :-1]
    weights = list(network.parameters())
    return Stepper(
        lambda: network(input_ids=ids, labels=ids).loss,
        weights,
        torch.optim.AdamW(weights, lr=LEARNING_RATE, weight_decay=0.1, fused=True),
        _context(settings["training"]["precision"]),
    )


def _operations(stepper: Stepper, vocab_size: int, steps: int = 10) -> tuple[Counter[str], Counter[Shapes]]:
    """Profile: each kind's share of the operations' own time, and how many products of which shapes a step makes."""
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as recorded:
        for _ in range(steps):
            stepper.learn()
    times: Counter[str] = Counter()
    products: Counter[Shapes] = Counter()
    for event in recorded.events():
        if event.name in PRODUCTS:
            operands = tuple(tuple(shape) for shape in event.input_shapes if len(shape) > 1)[-2:]
            products[operands] += 1
            kind = (
                "products of the head" if any(vocab_size in shape for shape in operands) else "products of the blocks"
            )
        else:
            kind = next((kind for kind, names in KINDS.items() if any(name in event.name for name in names)), "other")
        times[kind] += event.self_cpu_time_total
    total = sum(times.values())
    return (
        Counter({kind: own / total for kind, own in times.items()}),
        Counter({shapes: count / steps for shapes, count in products.items()}),
    )


if __name__ == "__main__":
    main()
