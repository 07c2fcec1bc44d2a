"""What training reaches on one GPU, by our own trainer: model-FLOPs utilisation of a 350M decoder, and its variants.

    python benchmarks/card.py                    # all parts, at most four minutes
    python benchmarks/card.py --only base fsdp   # some of them
    python benchmarks/card.py --tiny             # a small shape on a CPU: does the script run?

Each part trains on random tokens through `Fitting`, as the train stage does: Lightning's trainer, all callbacks, log
lines to a file; no validation and no checkpoint. The first log lines, in which the compiler works, do not count.
Utilisation is the logged metric: three times the forward pass's operations (backward costs two; Chowdhery et al., 2022,
appendix B) over the card's peak in bf16. Recomputed activations do not count as work.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import logging
import os
import statistics
import sys
import tempfile
import time
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # torch asks once in a process; the card's own size

import numpy as np
import pytorch_lightning as pl
import torch

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

DECODER = {"dim": 1024, "num_layers": 24, "num_heads": 16, "num_kv_heads": 16, "hidden_dim": 2816}
SMOLLM2 = {"dim": 576, "num_layers": 30, "num_heads": 9, "num_kv_heads": 3, "hidden_dim": 1536, "rope_theta": 100000.0}
TINY = {"dim": 32, "num_layers": 2, "num_heads": 2, "num_kv_heads": 2, "hidden_dim": 64}
PARTS: dict[str, tuple[str, dict[str, Any]]] = {
    "base": ("350M decoder, compiled, bf16 products, AdamW", {}),
    "free": ("the same, not deterministic", {"deterministic": "false"}),
    "recomputed": ("the same, activation checkpointing", {"activation_checkpointing": "true"}),
    "fsdp": ("the same, FSDP on one device", {"strategy": "fsdp"}),
    "smollm2": ("SmolLM2-135M's shape, full fine-tuning", {}),
    "muon": ("350M decoder, Muon", {"optimizer.name": "muon"}),
    "bf16": ("350M decoder, weights in bf16", {"weights": "bf16"}),
    "long": ("350M decoder, context 2,048", {"block_length": "2048"}),
    "plain": ("350M decoder, not compiled", {"compile": "false"}),
}
"""In the order of their worth, should the time run out."""
SKIPPED_LINES = 2
LOG_EVERY = 10  # as shipped: a line waits for the card


class Deadline(pl.Callback):
    """Stops a training some seconds after its compiler's work is done."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._began: float | None = None

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: object) -> None:
        """Look at the clock; a line is logged every `LOG_EVERY` steps."""
        if self._began is None:
            self._began = time.monotonic() if pl_module.step >= SKIPPED_LINES * LOG_EVERY else None
        elif time.monotonic() - self._began > self._seconds:
            trainer.should_stop = True


def main() -> None:
    """Parse, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seconds", type=float, default=10.0, help="of each part, once it is compiled")
    parser.add_argument("--limit", type=float, default=210.0, help="seconds after which no further part begins")
    parser.add_argument("--tokens", type=int, default=32_768, help="in a step")
    parser.add_argument("--tiny", action="store_true", help="a small shape, on a CPU, not compiled")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    device = "cpu" if arguments.tiny else "cuda"
    name = "a CPU" if arguments.tiny else torch.cuda.get_device_name()
    print(f"{name}, torch {torch.__version__}, Python {sys.version.split()[0]}", flush=True)
    began = time.monotonic()
    for part in arguments.only:
        label, changes = PARTS[part]
        if time.monotonic() - began > arguments.limit:
            print(f"{part}: left out, the time is over", flush=True)
            continue
        try:
            found = measure(part, changes, device, arguments)
        except Exception:  # the other parts may still tell something
            print(f"{part}: failed\n{traceback.format_exc(limit=-6)}", flush=True)
            continue
        print(f"{part:10}  {label}\n            {json.dumps(found)}", flush=True)
    print(f"{time.monotonic() - began:.0f} s in all")


def measure(part: str, changes: dict[str, str], device: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train for some seconds; return medians over the log lines."""
    from langmill.config.compose import compose_recipe
    from langmill.models.base import build_backbone
    from langmill.tasks.base import build_task
    from langmill.tracking.run_log import RunLog
    from langmill.training.build import Data
    from langmill.training.fitting import Fitting, quiet_lightning
    from langmill.training.hardware import prepared

    tiny = arguments.tiny
    shape = TINY if tiny else SMOLLM2 if part == "smollm2" else DECODER
    vocab_size = 300 if tiny else 49_152 if part == "smollm2" else 32_000
    settings = {
        "steps": "100000", "block_length": "64" if tiny else "1024", "log_every": LOG_EVERY, "samples": "[]",
        "validate_every": 10**9, "checkpoint_every": 10**9, "devices": 1, "nodes": 1, "accelerator": device,
        "precision": "bf16", "compile": str(not tiny).lower(), "threads": 2 if tiny else 8, "strategy": "auto",
        "optimizer.name": "adamw", "optimizer.learning_rate": "3e-4", "optimizer.matrix_learning_rate": "3e-4",
        "optimizer.betas": "[0.9,0.95]", "optimizer.weight_decay": "0.1", "optimizer.warmup_steps": "20", **changes,
    }  # fmt: skip
    length = int(settings["block_length"])
    size = max(1, (512 if tiny else arguments.tokens) // length)
    settings |= {"batch_size": size, "micro_batch_size": size}
    options = {**shape, "dropout": 0.0, "tie_embeddings": "true"}
    recipe = compose_recipe(
        "reviews-lm",
        [f"training.{key}={value}" for key, value in settings.items()]
        + [f"model.options.{key}={value}" for key, value in options.items()],
        REPOSITORY / "conf",
    )
    task = build_task(recipe.task.name, recipe.task.options, (), "benchmark")
    torch.compiler.reset()  # else a part of another shape is compiled for shapes that change
    torch.manual_seed(1)
    with torch.device(device):
        backbone = build_backbone(recipe.model.architecture, recipe.model.options, vocab_size, length, "benchmark")
        network = task.network(backbone)
    tokens = np.random.default_rng(1).integers(1, vocab_size, 2_000_000, dtype=np.uint16)
    shard: Any = SimpleNamespace(tokens=tokens, num_tokens=len(tokens))
    nothing: Any = SimpleNamespace(tokens=tokens[:0], num_tokens=0)
    tokenizer: Any = SimpleNamespace(eot_id=0)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    with tempfile.TemporaryDirectory() as folder, prepared(recipe.training), quiet_lightning():
        began = time.monotonic()
        fitting = Fitting(recipe, Data(task, tokenizer, shard, nothing), network, Path(folder))
        fitting.trainer.callbacks.append(Deadline(arguments.seconds))  # type: ignore[attr-defined]
        fitting.reporter.run_log = RunLog(Path(folder))
        with contextlib.ExitStack() as fitting.reporter.closing:
            fitting.run()
        seconds = time.monotonic() - began
        lines = [json.loads(line) for line in (Path(folder) / "events.jsonl").read_text().splitlines()]
    del fitting
    parameters = sum(weight.numel() for weight in network.parameters())
    del network, backbone
    gc.collect()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    if device == "cuda":
        torch.cuda.empty_cache()
    values = [line["values"] for line in lines if line["kind"] == "metrics"]
    steps = values[SKIPPED_LINES:] or values
    found: dict[str, Any] = {"million weights": round(parameters / 1e6, 1), "tokens a step": size * length}
    for key in ("model_flops_utilisation", "model_gflops_per_second", "tokens_per_second"):
        if key in steps[0]:
            numbers = sorted(line[key] for line in steps)
            found[key] = [float(f"{value:.4g}") for value in (statistics.median(numbers), numbers[0], numbers[-1])]
    found["ms a step"] = round(1000 * size * length / found["tokens_per_second"][0], 1)
    found["GPU MiB at the peak"] = round(max(line.get("memory_gpu_mb", 0.0) for line in values))
    found["loss"] = [round(values[0]["train/loss"], 3), round(values[-1]["train/loss"], 3)]
    return {**found, "steps": LOG_EVERY * len(values), "seconds with compilation": round(seconds, 1)}


if __name__ == "__main__":
    main()
