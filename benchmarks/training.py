"""Training speed against peers, and the trainer's overhead per step.

    python benchmarks/training.py speed --rounds 3      # in a workspace where `dvc repro encode@reviews-lm` has run
    python benchmarks/training.py overhead --rounds 3   # anywhere

`speed` runs our whole train stage (its own process, all tracking on) beside the Hugging Face Trainer around GPT-2 and
a loop in the manner of nanoGPT, with the same number of layers, width, heads, vocabulary, block length and batch, on
the same tokens, in fp32 and, where the device has instructions for it, in bf16. The shape is the shipped recipe's, or
with `--shape large` one that is worth a GPU. The runs are interleaved, each in a process of its own; the medians are
printed. The first steps are not counted, because torch.compile and the start of the tracking process fall into them;
the seconds that they take are printed.

`overhead` runs our trainer with everything on around an almost empty network, and the same network, batches and
optimizer in a bare loop; the difference is what a step pays for the trainer. Both are given in wall time and in the
thread's own CPU time, which other processes on the machine disturb less.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))
LEARNING_RATE = 1e-3
PEER = "Hugging Face Trainer, GPT-2"
SPEED = {
    "langmill": {"kind": "langmill", "precision": "fp32", "compile": False},
    "langmill, compiled": {"kind": "langmill", "precision": "fp32", "compile": True},
    "langmill, bf16": {"kind": "langmill", "precision": "bf16", "compile": False},
    "langmill, bf16, compiled": {"kind": "langmill", "precision": "bf16", "compile": True},
    PEER: {"kind": "huggingface", "precision": "fp32"},
    f"{PEER}, bf16": {"kind": "huggingface", "precision": "bf16"},
    "nanoGPT's loop": {"kind": "nanogpt", "precision": "fp32"},
}
SHAPES: dict[str, dict[str, dict[str, int]]] = {  # what differs from the shipped recipe
    "small": {"model": {}, "training": {}},
    "large": {  # 12 dim^2 weights in a block, as GPT-2 has
        "model": {"dim": 512, "num_layers": 8, "num_heads": 8, "num_kv_heads": 8, "hidden_dim": 1376},
        "training": {"block_length": 512, "batch_size": 32, "micro_batch_size": 32},
    },
}


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "overhead", "worker"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--skip", type=int, default=100)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.what == "worker":
        print("RESULT " + json.dumps(WORKERS[json.loads(arguments.job)["kind"]](json.loads(arguments.job))))
    elif arguments.what == "speed":
        speed(arguments.rounds, {name: getattr(arguments, name) for name in ("steps", "skip", "device", "shape")})
    else:
        overhead(arguments.rounds)


def in_process(job: dict[str, Any]) -> dict[str, float]:
    """Run a worker in a process of its own."""
    command = [sys.executable, __file__, "worker", "--job", json.dumps(job)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    for line in ran.stdout.splitlines():
        if line.startswith("RESULT "):
            return json.loads(line.removeprefix("RESULT "))
    raise SystemExit(f"{job} failed:\n{ran.stderr[-3000:]}")


# Speed ----------------------------------------------------------------------------------------------------------------


def speed(rounds: int, common: dict[str, Any]) -> None:
    """Measure tokens per second of all, interleaved."""
    from langmill.config.compose import compose_recipe
    from langmill.training.hardware import uses_bf16

    if not Path("build/shards/reviews-lm/manifest.json").is_file():
        raise SystemExit("There are no tokens here; make them with `dvc repro encode@reviews-lm`.")
    training = compose_recipe("reviews-lm", ["training.precision=auto"], REPOSITORY / "conf").training
    has_bf16 = uses_bf16(training, common["device"])
    jobs = {name: job for name, job in SPEED.items() if has_bf16 or job["precision"] != "bf16"}
    results: dict[str, list[dict[str, float]]] = {name: [] for name in jobs}
    for turn in range(rounds):
        for name, job in jobs.items():
            results[name].append(in_process({**job, **common}))
            print(f"round {turn + 1}  {name}: {results[name][-1]}", flush=True)
    reference = statistics.median(run["tokens_per_second"] for run in results[PEER])
    for name, runs in results.items():
        median = statistics.median(run["tokens_per_second"] for run in runs)
        print(f"{name:32} {median:10,.0f} tokens/s  {median / reference:5.2f}  loss {runs[0]['loss']:.4f}")


def recipe_settings(job: dict[str, Any], **training: Any) -> dict[str, Any]:
    """Compose the shipped recipe in a job's shape, with settings that all peers share."""
    from langmill.config.compose import compose_recipe, plain

    settings = plain(compose_recipe("reviews-lm", conf=REPOSITORY / "conf"))
    settings["model"]["options"] |= SHAPES[job["shape"]]["model"]
    settings["training"] |= {"samples": [], "validate_every": 10**9, "log_every": 10, "steps": job["steps"]}
    settings["training"] |= {"accelerator": job["device"], **SHAPES[job["shape"]]["training"], **training}
    settings["training"]["optimizer"] |= {
        "name": "adamw",
        "learning_rate": LEARNING_RATE,
        "matrix_learning_rate": LEARNING_RATE,
        "betas": [0.9, 0.95],
        "weight_decay": 0.1,
        "warmup_steps": 10,
        "final_fraction": 1.0,
        "gradient_clip": 1.0,
    }
    return settings


def langmill_worker(job: dict[str, Any]) -> dict[str, float]:
    """Run our train stage as `dvc repro` does, in a workspace of its own."""
    with tempfile.TemporaryDirectory(dir=".") as name:
        workspace = Path(name).resolve()
        shutil.copytree(REPOSITORY / "conf", workspace / "conf")
        path = workspace / "build" / "config" / "recipe" / "reviews-lm.yaml"
        path.parent.mkdir(parents=True)
        settings = recipe_settings(job, compile=job["compile"], precision=job["precision"])
        path.write_text(yaml.safe_dump(settings), encoding="utf-8")
        for folder in ("shards", "tokenizers"):
            (workspace / "build" / folder).symlink_to(Path("build", folder).resolve())
        began = time.time()
        subprocess.run([sys.executable, "-m", "langmill.stages", "train", "reviews-lm"], cwd=workspace, check=True)
        log = next(workspace.glob(".langmill/runs/*/events.jsonl"))
        lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    logged = [line for line in lines if line["kind"] == "metrics" and "train/loss" in line["values"]]
    times = {line["step"]: line["time"] / 1000 for line in logged}
    training = settings["training"]
    return {
        "tokens_per_second": _rate(training, times[job["steps"]] - times[job["skip"]], job),
        "loss": logged[-1]["values"]["train/loss"],
        "seconds_to_first_steps": times[job["skip"]] - began,
    }


def _rate(training: dict[str, Any], seconds: float, job: dict[str, Any]) -> float:
    return training["batch_size"] * training["block_length"] * (job["steps"] - job["skip"]) / seconds


def peer_batches(training: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """Random blocks of the same tokens, as nanoGPT draws them."""
    import torch

    tokens, rng = _tokens(), np.random.default_rng(1)
    length = training["block_length"]
    while True:
        starts = rng.integers(len(tokens) - length - 1, size=training["batch_size"])
        blocks = np.stack([tokens[start : start + length + 1] for start in starts]).astype(np.int64)
        yield torch.from_numpy(blocks[:, :-1]), torch.from_numpy(blocks[:, 1:])


def _tokens() -> Any:
    from langmill.tokenization.shards import Shard

    return Shard.open(Path("build/shards/reviews-lm"), "train").tokens


def _shape(settings: dict[str, Any]) -> dict[str, int]:
    from langmill.tokenization.tokenizer import Tokenizer

    return shape_of(settings, Tokenizer.load(Path("build/tokenizers") / settings["tokenizer"]["name"]).vocab_size)


def shape_of(settings: dict[str, Any], vocab_size: int) -> dict[str, int]:
    """What a peer's network is made with, so that it has the recipe's shape."""
    options = settings["model"]["options"]
    return {
        "vocab_size": vocab_size,
        "block_length": settings["training"]["block_length"],
        **{name: options[name] for name in ("dim", "num_layers", "num_heads")},
    }


def nanogpt_worker(job: dict[str, Any]) -> dict[str, float]:
    """Run the hand-written loop."""
    import torch

    from benchmarks.peers.nanogpt import GPT, train

    settings = recipe_settings(job)
    torch.set_num_threads(settings["training"]["threads"])
    torch.manual_seed(1)
    losses, times = [], []
    model = GPT(**_shape(settings)).to(job["device"])
    batches = ((x.to(job["device"]), y.to(job["device"])) for x, y in peer_batches(settings["training"]))
    for loss in train(model, batches, LEARNING_RATE):
        losses.append(loss)
        times.append(time.time())
        if len(losses) == job["steps"]:
            break
    seconds = times[-1] - times[job["skip"] - 1]
    return {"tokens_per_second": _rate(settings["training"], seconds, job), "loss": statistics.mean(losses[-10:])}


def huggingface_worker(job: dict[str, Any]) -> dict[str, float]:
    """Run Hugging Face's Trainer with GPT-2, by default settings apart from those that all peers share."""
    import torch
    from transformers import Trainer, TrainerCallback, TrainingArguments

    from benchmarks.peers.gpt2 import gpt2

    settings = recipe_settings(job)
    training = settings["training"]
    torch.set_num_threads(training["threads"])
    torch.manual_seed(1)
    length = training["block_length"]
    blocks = _tokens()[: len(_tokens()) // length * length].reshape(-1, length)

    class Blocks(torch.utils.data.Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return len(blocks)

        def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
            ids = torch.from_numpy(blocks[index].astype(np.int64))
            return {"input_ids": ids, "labels": ids}

    class Clock(TrainerCallback):
        def __init__(self) -> None:
            self.times: list[float] = []

        def on_step_end(self, *_: Any, **__: Any) -> None:
            if job["device"] == "cuda" and len(self.times) + 1 in {job["skip"], job["steps"]}:
                torch.cuda.synchronize()
            self.times.append(time.time())

    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, max_steps=job["steps"], per_device_train_batch_size=training["batch_size"],
            learning_rate=LEARNING_RATE, warmup_steps=10, lr_scheduler_type="constant_with_warmup", weight_decay=0.1,
            logging_steps=10, report_to=[], save_strategy="no", disable_tqdm=True, seed=1,
            use_cpu=job["device"] == "cpu", bf16=job["precision"] == "bf16",
        )  # fmt: skip
        trainer = Trainer(gpt2(**_shape(settings)), arguments, train_dataset=Blocks(), callbacks=[clock])
        with contextlib.redirect_stdout(sys.stderr):
            trainer.train()
    loss = [line["loss"] for line in trainer.state.log_history if "loss" in line][-1]
    seconds = clock.times[-1] - clock.times[job["skip"] - 1]
    return {"tokens_per_second": _rate(training, seconds, job), "loss": float(loss)}


# Overhead -------------------------------------------------------------------------------------------------------------


def overhead(rounds: int) -> None:
    """Measure the milliseconds that the trainer adds to a step."""
    rows = []
    for turn in range(rounds):
        ours, bare = in_process({"kind": "around", "steps": 4000}), in_process({"kind": "bare", "steps": 4000})
        rows.append({clock: ours[clock] - bare[clock] for clock in ours})
        print(f"round {turn + 1}  ours {ours}  bare {bare}", flush=True)
    for clock in ("wall", "cpu"):
        print(f"added to a step, {clock}: {statistics.median(row[clock] for row in rows):.3f} ms")


def _almost_nothing() -> Any:
    import torch
    from torch import nn

    class Nothing:
        """The smallest task."""

        def before_training(self, network: nn.Module) -> None: ...

        def loss(self, network: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
            return network.model(batch["tokens"]).square().mean()

        def num_targets(self, batch: dict[str, torch.Tensor]) -> float:
            return batch["tokens"].numel()

    network = nn.Module()
    network.model = nn.Embedding(8, 8)
    return network, Nothing(), {"tokens": torch.zeros(4, 8, dtype=torch.long)}


class _Same:
    """The same micro-batch for ever."""

    def __init__(self, batch: Any) -> None:
        self._batch = batch

    def __getitem__(self, index: int) -> Any:
        return self._batch


def bare_worker(job: dict[str, Any]) -> dict[str, float]:
    """Run the bare loop."""
    import torch

    torch.set_num_threads(1)
    network, task, batch = _almost_nothing()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    weights = list(network.parameters())
    watch = _Watch()
    for _ in range(job["steps"]):
        optimizer.zero_grad()
        task.loss(network, batch).backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        watch.tick()
    return watch.per_step()


def around_worker(job: dict[str, Any]) -> dict[str, float]:
    """Run our module, callbacks and trainer, with log lines, a progress file and checkpoints."""
    from langmill.config.compose import compose_recipe
    from langmill.tracking.run_log import RunLog
    from langmill.training.checkpoint_callback import CheckpointCallback
    from langmill.training.fitting import build_trainer, quiet_lightning
    from langmill.training.guard import StepMetrics
    from langmill.training.hardware import prepared
    from langmill.training.module import TrainingModule
    from langmill.training.reporting import Reporter
    from langmill.training.signals import OwnSignals
    from langmill.training.validation import Validation

    logging.disable(logging.CRITICAL)
    overrides = [f"training.steps={job['steps']}", "training.threads=1", "training.optimizer.name=adamw"]
    overrides += ["training.log_every=10", "training.checkpoint_every=100", "training.samples=[]"]
    training = compose_recipe("reviews-lm", overrides, REPOSITORY / "conf").training
    network, task, batch = _almost_nothing()
    watch = _Watch()
    with (
        tempfile.TemporaryDirectory() as folder,
        prepared(training),
        quiet_lightning(),
        contextlib.ExitStack() as stack,
    ):
        os.environ["LANGMILL_PROGRESS_FILE"] = str(Path(folder) / "progress")
        module = TrainingModule(network, task, training, lambda *_: _Same(batch), bf16=False, sharded=False)
        step_metrics = StepMetrics()
        reporter = Reporter("nothing", training, step_metrics, flops_per_token=None, peak_flops=None)
        reporter.run_log, reporter.closing = RunLog(Path(folder)), stack
        validation = Validation(training, [], None, reporter)
        checkpoint_callback = CheckpointCallback(training, Path(folder) / "checkpoints", step_metrics, validation)
        trainer = build_trainer(
            training, "cpu", [step_metrics, reporter, validation, checkpoint_callback, OwnSignals()]
        )
        make_step = module._make_step

        def timed(*arguments: Any) -> None:
            make_step(*arguments)
            watch.tick()

        module._make_step = timed
        trainer.fit(module)
    return watch.per_step()


class _Watch:
    """Milliseconds of a step: of the means over stretches of 100 steps the median, so that a hiccup counts little."""

    def __init__(self) -> None:
        self._steps = 0
        self._times: list[tuple[float, float]] = []

    def tick(self) -> None:
        if self._steps % 100 == 0:  # asking for the CPU time is a call of the kernel, dear on a busy machine
            self._times.append((time.perf_counter(), time.thread_time()))
        self._steps += 1

    def per_step(self) -> dict[str, float]:
        times = np.array(self._times)[4:]
        wall, cpu = 10 * np.median(np.diff(times, axis=0), axis=0)
        return {"wall": float(wall), "cpu": float(cpu)}


WORKERS = {
    "langmill": langmill_worker,
    "nanogpt": nanogpt_worker,
    "huggingface": huggingface_worker,
    "around": around_worker,
    "bare": bare_worker,
}

if __name__ == "__main__":
    main()
