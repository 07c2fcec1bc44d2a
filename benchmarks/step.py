"""Where a training step's time goes, and the least that its matrix products alone would take on this machine.

    python benchmarks/step.py                     # the shape of reviews-lm, fp32, random tokens
    python benchmarks/step.py --precision bf16

Ours and GPT-2 of transformers (what the Hugging Face Trainer of `training.py speed` trains), with the same number of
layers, width, heads, vocabulary, block length and batch, make the same step in turns: forward and backward pass, clip,
AdamW. torch's profiler says which operations take the time, and with which shapes; then each matrix product is timed
alone, on operands of its own that no other operation has written. The sum of these is the floor: what a step would take
if all else were free. Hugging Face's step over the floor is the largest ratio that any implementation of this shape
could reach here in this number format.
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


def main() -> None:
    """Parse, measure and print."""
    from benchmarks.training import recipe_settings

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--steps", type=int, default=60)
    arguments = parser.parse_args()
    job = {"shape": "small", "steps": arguments.steps, "device": "cpu"}
    settings = recipe_settings(job, precision=arguments.precision)
    training = settings["training"]
    torch.set_num_threads(training["threads"])
    torch.set_flush_denormal(True)
    torch.manual_seed(1)
    models = {"langmill": _langmill(settings), "GPT-2 of transformers": _gpt2(settings)}
    for number in range(arguments.steps + 5):
        if number == 5:  # the first steps allocate
            for stepper in models.values():
                stepper.parts.clear()
        for stepper in models.values():
            stepper.step()
    tokens = training["batch_size"] * training["block_length"]
    print(
        f"{tokens} tokens a step, {training['threads']} threads, {arguments.precision}; medians of {arguments.steps}\n"
    )
    floors, totals = {}, {}
    for name, stepper in models.items():
        parts, (kinds, products) = stepper.milliseconds(), _operations(stepper, _shape(settings)[0])
        totals[name] = sum(parts.values())
        floors[name] = sum(count * _alone(shapes, arguments.precision) for shapes, count in products.items())
        print(f"{name}: {totals[name]:.1f} ms a step, {1000 * tokens / totals[name]:,.0f} tokens/s")
        for part, taken in parts.items():
            print(f"  {part:24} {taken:7.1f} ms")
        for kind, share in kinds.most_common():
            print(f"    {kind:22} {share:6.1%} of forward and backward")
        flop = sum(count * _flop(shapes) for shapes, count in products.items())
        print(f"  its products alone       {floors[name]:7.1f} ms, {flop / floors[name] / 1e6:.0f} GFLOP/s\n")
    ours, theirs = models
    print(f"ratio of the steps         {totals[theirs] / totals[ours]:.2f}")
    print(f"largest possible here      {totals[theirs] / floors[ours]:.2f}  (their step over our products alone)")


def _context(precision: str) -> Callable[[], contextlib.AbstractContextManager[Any]]:
    return lambda: torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")


def _shape(settings: dict[str, Any]) -> tuple[int, int, int]:
    from langmill.config.compose import compose_tokenizer

    training = settings["training"]
    vocab_size = compose_tokenizer(settings["tokenizer"]["name"], conf=REPOSITORY / "conf").vocab_size
    return vocab_size, training["batch_size"], training["block_length"]


def _langmill(settings: dict[str, Any]) -> Stepper:
    from langmill.config.compose import compose_recipe
    from langmill.models.base import build_backbone
    from langmill.tasks.base import build_task
    from langmill.training.optimizer import build_optimizer

    vocab_size, batch_size, length = _shape(settings)
    task = build_task(settings["task"]["name"], settings["task"]["options"], (), "benchmark")
    model = settings["model"]
    network = task.network(build_backbone(model["architecture"], model["options"], vocab_size, length, "benchmark"))
    overrides = [f"training.optimizer.{name}={value}" for name, value in (("name", "adamw"), ("learning_rate", 1e-3))]
    training = compose_recipe("reviews-lm", overrides, REPOSITORY / "conf").training
    ids = torch.randint(vocab_size, (batch_size, length + 1))
    batch = {"tokens": ids[:, :-1], "targets": ids[:, 1:]}
    return Stepper(
        lambda: task.loss(network, batch),
        list(network.parameters()),
        build_optimizer(network, training.optimizer, training.steps),
        _context(settings["training"]["precision"]),
    )


def _gpt2(settings: dict[str, Any]) -> Stepper:
    from transformers import GPT2Config, GPT2LMHeadModel

    vocab_size, batch_size, length = _shape(settings)
    options = settings["model"]["options"]
    config = GPT2Config(
        vocab_size=vocab_size, n_positions=length, n_embd=options["dim"], n_layer=options["num_layers"],
        n_head=options["num_heads"], resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    network = GPT2LMHeadModel(config)
    ids = torch.randint(vocab_size, (batch_size, length))
    weights = list(network.parameters())
    optimizer = torch.optim.AdamW(weights, lr=1e-3, weight_decay=0.1, fused=True)
    loss = lambda: network(input_ids=ids, labels=ids).loss  # noqa: E731
    return Stepper(loss, weights, optimizer, _context(settings["training"]["precision"]))


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


def _alone(shapes: Shapes, precision: str) -> float:
    """Milliseconds of one product by itself, the median of many."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = (torch.randn(shape, dtype=dtype) for shape in shapes)
    out = torch.matmul(left, right)
    times = []
    for _ in range(30):
        began = time.perf_counter()
        torch.matmul(left, right, out=out)
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times)


def _flop(shapes: Shapes) -> float:
    left, right = shapes
    return 2.0 * math.prod(left) * right[-1]


if __name__ == "__main__":
    main()
