"""`dvc repro` killed between a training's last step and DVC's commit: the next one makes no step again."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from langmill.files import exclusive_lock
from tests.unit.training.material import train, write_recipe

pytestmark = [pytest.mark.faults, pytest.mark.slow]
NO_SERVER = "http://127.0.0.1:9"
GRAPH = """
stages:
  train:
    cmd: python stage.py
    deps: [build/shards/reviews-lm, build/tokenizers/reviews]
    outs: [build/models/reviews-lm]
"""
# The train stage, which kills `dvc repro` at a place; and one that refuses to make a step, or even to begin.
STAGE = """
import os, sys
import psutil
from langmill.stages import process
from langmill.training import fit

places = open("places").read().splitlines()

def kill(*_, **__):
    for parent in psutil.Process().parents():
        if "repro" in parent.cmdline():
            parent.kill()
    os._exit(9)

def refuse(*_):
    raise RuntimeError("it was trained again")

def after(real):
    def call(*arguments, **others):
        real(*arguments, **others)
        kill()
    return call

if "last validation" in places:
    from langmill.training.validation import Validation
    validate = Validation.on_train_batch_end
    Validation.on_train_batch_end = lambda self, trainer, module, *rest: (
        kill() if module.step == 12 else validate(self, trainer, module, *rest))
if "saved" in places:
    from langmill.training import fitting
    fitting.save_model = after(fitting.save_model)
if "in its place" in places:
    fit.put_finished = after(fit.put_finished)
if "no step" in places:
    from langmill.training.module import TrainingModule
    TrainingModule._make_step = refuse
if "no beginning" in places:
    fit.initial_network = refuse
sys.argv = ["langmill.stages", "train", "reviews-lm"]
process._restart_with_environment = lambda: None
process.run_stage()
"""
# DVC, which is killed before it does something.
DVC = """
import os, sys
from dvc.dvcfile import Lockfile
from dvc.stage import Stage
def die(*_, **__):
    os.kill(os.getpid(), 9)
if sys.argv[2] != "-":
    setattr({"Stage": Stage, "Lockfile": Lockfile}[sys.argv[2]], sys.argv[3], die)
from dvc.cli import main
sys.exit(main(["repro", *sys.argv[4:]]))
"""


@pytest.fixture(scope="module")
def prepared_workspace(trainable_workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = Path(shutil.copytree(trainable_workspace, tmp_path_factory.mktemp("commit") / "workspace"))
    operation = workspace / "conf" / "operation" / "default.yaml"
    operation.write_text(operation.read_text().replace("sqlite:///.langmill/mlflow.db", NO_SERVER))
    write_recipe(workspace, "reviews-lm", ["training.checkpoint_every=1000", "model.options.dropout=0.1"])
    (workspace / "dvc.yaml").write_text(GRAPH.replace("python", sys.executable))
    (workspace / "stage.py").write_text(STAGE)
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "-q"], cwd=workspace, check=True)
    return workspace


@pytest.fixture(scope="module")
def expected(prepared_workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of a training that nobody killed."""
    untouched = Path(shutil.copytree(prepared_workspace, tmp_path_factory.mktemp("untouched") / "workspace"))
    return train(untouched, "reviews-lm", ["training.checkpoint_every=1000", "model.options.dropout=0.1"])


def repro(
    workspace: Path, *places: str, killed: tuple[str, str] = ("-", "-"), arguments: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """`dvc repro`, killed at a place of the stage or before something that DVC does."""
    (workspace / "places").write_text("\n".join(places))
    done = subprocess.run(
        [sys.executable, "-c", DVC, "repro", *killed, *arguments], cwd=workspace, capture_output=True, text=True,
        timeout=240, check=False,
    )  # fmt: skip
    with exclusive_lock(workspace / ".langmill/locks/train@reviews-lm.lock", "The test", wait=True):
        return done  # the stage has ended too


def test_no_repro_makes_a_step_again_wherever_the_ones_before_were_killed(
    prepared_workspace: Path, expected: Path, tmp_path: Path
) -> None:
    """One training, whose `dvc repro` is killed at one place after the other after its last step.

    What is half written at such a place is tried without DVC, in test_training_faults.py.
    """
    workspace = Path(shutil.copytree(prepared_workspace, tmp_path / "workspace"))
    assert repro(workspace, "last validation").returncode == -9
    assert repro(workspace, "saved", "no step").returncode == -9
    assert repro(workspace, "in its place", "no beginning").returncode == -9
    for owner, method in (("Stage", "save"), ("Stage", "commit"), ("Lockfile", "dump_stages")):
        assert repro(workspace, "no beginning", killed=(owner, method)).returncode == -9, method
    done = repro(workspace, "no beginning")
    assert done.returncode == 0, done.stdout + done.stderr
    model = workspace / "build/models/reviews-lm"
    for name in ("model.safetensors", "manifest.json", "config.json"):
        assert (model / name).read_bytes() == (expected / name).read_bytes()
    assert "didn't change, skipping" in repro(workspace, "no beginning").stdout
    # What is committed is trained again when someone asks for it, and nothing is kept twice.
    forced = repro(workspace, "no beginning", arguments=["-f"])
    assert "it was trained again" in forced.stderr + forced.stdout
    assert not list(workspace.glob(".langmill/runs/*/finished"))
