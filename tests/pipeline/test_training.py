"""The train stage as a process: killed and started again, stopped, and as two processes."""

from __future__ import annotations

import functools
import logging
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch.distributed import TCPStore

from langmill.files import read_manifest
from langmill.models import functions
from langmill.models.folder import load_state
from tests.unit.training.material import curve, events, train, train_written, weights, write_recipe

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(1500)]

DROPOUT = "model.options.dropout=0.1"
NO_SERVER = "http://127.0.0.1:9"  # nothing listens there: the tests of a dead server's consequences come for free
LIMIT = 600.0


@pytest.fixture(scope="module")
def prepared_workspace(trainable_workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = Path(shutil.copytree(trainable_workspace, tmp_path_factory.mktemp("pipeline") / "workspace"))
    operation = workspace / "conf" / "operation" / "default.yaml"
    operation.write_text(operation.read_text().replace("sqlite:///.langmill/mlflow.db", NO_SERVER))
    return workspace


@pytest.fixture
def workspace(prepared_workspace: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(prepared_workspace, tmp_path / "workspace"))


def start(workspace: Path, name: str, overrides: Sequence[str] = ()) -> subprocess.Popen[str]:
    """The train stage in a process of its own."""
    write_recipe(workspace, name, overrides)
    return subprocess.Popen(
        [sys.executable, "-m", "langmill.stages", "train", name],
        cwd=workspace, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for a stage to end well; gives what it said."""
    try:
        _, said = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert process.returncode == 0, said
    return said


def saved_steps(workspace: Path) -> list[int]:
    """The steps of which there are checkpoints."""
    return [int(path.stem.removeprefix("step-")) for path in workspace.glob(".langmill/runs/*/checkpoints/*.ckpt")]


def wait_for_step(workspace: Path, process: subprocess.Popen[str], step: int) -> None:
    """Wait until a checkpoint of this step or a later one is there."""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        if any(found >= step for found in saved_steps(workspace)):
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.002)
    process.kill()
    raise AssertionError(f"no checkpoint of step {step}")


def logged_as_one_that_ran_through(workspace: Path, untouched: Path, name: str) -> None:
    """Every step is logged once, with the figures of a training that ran through."""
    for figure in ("train/loss", "validation/loss"):
        assert curve(workspace, figure, name) == curve(untouched, figure, name)
    logged = [(event["step"], figure) for event in events(workspace, "metrics", name) for figure in event["values"]]
    assert len(logged) == len(set(logged)) > 0


def test_a_stage_that_was_stopped_gives_the_weights_of_one_that_was_not(workspace, tmp_path, caplog):
    overrides = [DROPOUT, "training.steps=240", "training.checkpoint_every=10", "training.validate_every=60"]
    untouched = Path(shutil.copytree(workspace, tmp_path / "untouched"))
    whole = train(untouched, "reviews-lm", overrides)

    process = start(workspace, "reviews-lm", overrides)
    wait_for_step(workspace, process, 20)
    began = time.monotonic()
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - began < 30  # on a busy machine; what is left to do takes a second
    assert said == "train@reviews-lm: interrupted; the next run resumes from the last checkpoint, if there is one.\n"
    assert list(workspace.glob(".langmill/runs/*/checkpoints/step-*.ckpt"))
    assert not (workspace / "build/models/reviews-lm").exists()

    with caplog.at_level(logging.INFO):
        model = train(workspace, "reviews-lm", overrides)
    assert "Resumed from" in caplog.text
    for name in ("model.safetensors", "manifest.json", "config.json"):
        assert (model / name).read_bytes() == (whole / name).read_bytes()
    logged_as_one_that_ran_through(workspace, untouched, "reviews-lm")


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("reviews-lm", [DROPOUT, "training.optimizer.name=muon"]),
        (
            "reviews-lm",
            [DROPOUT, "training.micro_batch_size=4", "training.early_stopping_patience=3", "training.validate_every=3"],
        ),
        ("sentiment-decoder", [DROPOUT, "task.options.dropout=0.3"]),
    ],
    ids=["muon", "accumulation and patience", "fine-tuning"],
)
def test_killed_at_any_moment(workspace, tmp_path, name, overrides):
    """Killed again and again, each time a little later in its life, until it gets through."""
    if name == "sentiment-decoder":
        train(workspace, "reviews-lm", [DROPOUT])
    untouched = Path(shutil.copytree(workspace, tmp_path / "untouched"))
    overrides = [*overrides, "training.steps=30"]
    expected = weights(train(untouched, name, overrides))
    kills, seconds = 0, 0.3
    while True:
        child = os.fork()  # a process that has imported everything: what is killed is the training
        if child == 0:
            try:
                train(workspace, name, overrides)
            finally:
                os._exit(0)
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            break
        kills, seconds = kills + 1, seconds * 1.15
        assert kills < 60
    assert kills >= 2
    assert weights(workspace / "build/models" / name) == expected
    logged_as_one_that_ran_through(workspace, untouched, name)


class Two:
    """Two processes of one training, as torchrun starts them: forked from this one, which has imported everything.

    Like torchrun this process holds the port at which they meet.
    """

    def __init__(self, workspace: Path, overrides: Sequence[str]) -> None:
        write_recipe(workspace, "reviews-lm", overrides)
        self.store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        context = multiprocessing.get_context("fork")
        port = self.store.port
        self.processes = [context.Process(target=self._work, args=(workspace, rank, port)) for rank in range(2)]
        for process in self.processes:
            process.start()

    @staticmethod
    def _work(workspace: Path, rank: int, port: int) -> None:
        own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        own["TORCHELASTIC_USE_AGENT_STORE"] = True
        os.environ.update({name: str(value) for name, value in own.items()})
        train_written(workspace, "reviews-lm")

    def end(self) -> list[int | None]:
        """Their exit codes."""
        for process in self.processes:
            process.join(LIMIT)
        for process in self.processes:
            process.kill()  # one that hangs
            process.join()
        return [process.exitcode for process in self.processes]


@pytest.mark.parametrize("compiled", [False, True], ids=["", "compiled"])
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_train_as_one(workspace, tmp_path, monkeypatch, strategy, compiled):
    """The same order of data, the same curve within 1e-4, and the same weights, whole, at the same global batch.

    Compiled as far as torch's own graphs: what its compiler of C++ makes of them takes minutes for two at once, and is
    tried in one process, in tests/unit/training.
    """
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    functions._compiled_gradients.cache_clear()
    if compiled:
        torch.compile(torch.sin)(torch.ones(1, requires_grad=True))  # the compiler is imported once for both processes
    untouched = Path(shutil.copytree(workspace, tmp_path / "untouched"))
    shared = ["training.samples=[]", "training.micro_batch_size=2", "training.optimizer.name=adamw"]
    alone = train(untouched, "reviews-lm", shared)
    shared += ["training.devices=2", f"training.strategy={strategy}", f"training.compile={compiled}"]
    shared.append(f"training.activation_checkpointing={compiled}")
    assert Two(workspace, shared).end() == [0, 0]
    model = workspace / "build/models/reviews-lm"
    for figure in ("train/loss", "validation/loss", "gradient_norm"):
        assert curve(workspace, figure) == pytest.approx(curve(untouched, figure), rel=1e-4)
    one, two = load_state(alone), load_state(model)
    assert {name: tensor.shape for name, tensor in one.items()} == {name: tensor.shape for name, tensor in two.items()}
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-3
    tokens = [read_manifest(folder, verify=True)["tokens_seen"] for folder in (alone, model)]
    assert tokens == [12 * 8 * 32] * 2


KILLED_OF_TWO = [
    DROPOUT, "training.samples=[]", "training.micro_batch_size=4", "training.devices=2", "training.steps=40",
    "training.optimizer.name=muon",
]  # fmt: skip


def test_two_processes_that_a_stage_starts_end_together_and_go_on(workspace, tmp_path):
    """The stage starts the second process itself; it dies with the first."""
    untouched = Path(shutil.copytree(workspace, tmp_path / "untouched"))
    assert Two(untouched, KILLED_OF_TWO).end() == [0, 0]
    process = start(workspace, "reviews-lm", KILLED_OF_TWO)
    wait_for_step(workspace, process, 10)
    process.kill()
    process.communicate()  # ends when the other process has let go of the pipes: it dies with the first one
    said = finish(start(workspace, "reviews-lm", KILLED_OF_TWO))
    assert all(line.startswith("Training reviews-lm: ") for line in said.splitlines()), said
    assert weights(workspace / "build/models/reviews-lm") == weights(untouched / "build/models/reviews-lm")
    assert curve(workspace, "train/loss") == curve(untouched, "train/loss")


def test_two_sharded_processes_go_on_after_a_kill(workspace, tmp_path):
    overrides = [*KILLED_OF_TWO, "training.strategy=fsdp"]
    untouched = Path(shutil.copytree(workspace, tmp_path / "untouched"))
    assert Two(untouched, overrides).end() == [0, 0]
    killed = Two(workspace, overrides)
    deadline = time.monotonic() + LIMIT
    while not any(step >= 10 for step in saved_steps(workspace)):
        assert time.monotonic() < deadline and killed.processes[0].is_alive()
        time.sleep(0.002)
    killed.processes[0].kill()
    assert killed.end() == [-signal.SIGKILL, 1]  # the other one can't go on alone
    assert Two(workspace, overrides).end() == [0, 0]
    assert weights(workspace / "build/models/reviews-lm") == weights(untouched / "build/models/reviews-lm")
    assert curve(workspace, "train/loss") == curve(untouched, "train/loss")
