"""The train stage as a process: killed and started again, stopped, and as two processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from langmill.files import read_manifest
from langmill.models.folder import load_state
from tests.unit.training.material import curve, events, make_workspace, train, weights, write_recipe

pytestmark = pytest.mark.pipeline

DROPOUT = "model.options.dropout=0.1"
NO_SERVER = "http://127.0.0.1:9"  # nothing listens there: the tests of a dead server's consequences come for free
LIMIT = 240.0


@pytest.fixture(scope="module")
def prepared_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = make_workspace(tmp_path_factory.mktemp("pipeline") / "workspace")
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


def wait_for_step(workspace: Path, process: subprocess.Popen[str], step: int) -> None:
    """Wait until a checkpoint of this step or a later one is there."""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        steps = [int(path.stem.removeprefix("step-")) for path in workspace.glob(".langmill/runs/*/checkpoints/*.ckpt")]
        if any(found >= step for found in steps):
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.002)
    raise AssertionError(f"no checkpoint of step {step}")


def logged_as_one_that_ran_through(workspace: Path, untouched: Path, name: str) -> None:
    """Every step is logged once, with the figures of a training that ran through."""
    for figure in ("train/loss", "validation/loss"):
        assert curve(workspace, figure, name) == curve(untouched, figure, name)
    logged = [(event["step"], figure) for event in events(workspace, "metrics", name) for figure in event["values"]]
    assert len(logged) == len(set(logged)) > 0


def test_a_stage_that_was_stopped_gives_the_weights_of_one_that_was_not(workspace, tmp_path):
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

    finish(start(workspace, "reviews-lm", overrides))
    model = workspace / "build/models/reviews-lm"
    assert "Resumed from" in (workspace / ".langmill/logs/train@reviews-lm.log").read_text()
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


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_train_as_one(workspace, tmp_path, strategy):
    """The same order of data, the same curve within 1e-4, and the same weights, whole, at the same global batch."""
    untouched = Path(shutil.copytree(workspace, tmp_path / "untouched"))
    shared = ["training.samples=[]", "training.micro_batch_size=2", "training.optimizer.name=adamw"]
    alone = train(untouched, "reviews-lm", shared)
    said = finish(start(workspace, "reviews-lm", [*shared, "training.devices=2", f"training.strategy={strategy}"]))
    assert said == ""
    model = workspace / "build/models/reviews-lm"
    for figure in ("train/loss", "validation/loss", "gradient_norm"):
        assert curve(workspace, figure) == pytest.approx(curve(untouched, figure), rel=1e-4)
    one, two = load_state(alone), load_state(model)
    assert {name: tensor.shape for name, tensor in one.items()} == {name: tensor.shape for name, tensor in two.items()}
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-3
    tokens = [read_manifest(folder, verify=True)["tokens_seen"] for folder in (alone, model)]
    assert tokens == [12 * 8 * 32] * 2


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_that_both_compile_train_as_one(workspace, tmp_path, strategy):
    """Slow, because the compiler runs."""
    untouched = Path(shutil.copytree(workspace, tmp_path / "untouched"))
    shared = ["training.samples=[]", "training.micro_batch_size=2", "training.optimizer.name=adamw"]
    alone = train(untouched, "reviews-lm", shared)
    compiled = [*shared, "training.devices=2", f"training.strategy={strategy}", "training.compile=true"]
    finish(start(workspace, "reviews-lm", compiled))
    for figure in ("train/loss", "validation/loss", "gradient_norm"):
        assert curve(workspace, figure) == pytest.approx(curve(untouched, figure), rel=1e-4)
    one, two = load_state(alone), load_state(workspace / "build/models/reviews-lm")
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_go_on_after_a_kill(workspace, tmp_path, strategy):
    overrides = [DROPOUT, "training.samples=[]", "training.micro_batch_size=4", "training.devices=2"]
    overrides += ["training.steps=40", f"training.strategy={strategy}", "training.optimizer.name=muon"]
    untouched = Path(shutil.copytree(workspace, tmp_path / "untouched"))
    finish(start(untouched, "reviews-lm", overrides))
    process = start(workspace, "reviews-lm", overrides)
    wait_for_step(workspace, process, 10)
    process.kill()
    process.communicate()  # ends when the other process has let go of the pipes: it dies with the first one
    finish(start(workspace, "reviews-lm", overrides))
    assert weights(workspace / "build/models/reviews-lm") == weights(untouched / "build/models/reviews-lm")
    assert curve(workspace, "train/loss") == curve(untouched, "train/loss")
