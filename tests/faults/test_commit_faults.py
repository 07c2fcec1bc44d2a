"""`dvc repro` killed between a training's last step and DVC's commit: the next one makes no step again."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

import pytest
from dvc.dvcfile import Lockfile
from dvc.stage import Stage
from dvc.stage.exceptions import StageCmdFailedError

from langmill.files import exclusive_lock
from langmill.stages import process
from langmill.training import fit, fitting
from langmill.training.module import TrainingModule
from langmill.training.validation import Validation
from tests.forked import fork, fork_dvc
from tests.unit.training.material import train, write_recipe

pytestmark = [pytest.mark.faults, pytest.mark.slow]
NO_SERVER = "http://127.0.0.1:9"
GRAPH = """
stages:
  train:
    cmd: python -m langmill.stages train reviews-lm
    deps: [build/shards/reviews-lm, build/tokenizers/reviews]
    outs: [build/models/reviews-lm]
"""
DVC_SETTINGS = "[core]\n    no_scm = true\n    analytics = false\n    check_update = false\n"


def die(*_: Any, **__: Any) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def kill_dvc(*_: Any, **__: Any) -> NoReturn:
    os.kill(os.getppid(), signal.SIGKILL)
    os._exit(9)


def refuse(*_: Any) -> NoReturn:
    raise RuntimeError("it was trained again")


def killing_after(real: Callable[..., object]) -> Callable[..., NoReturn]:
    def call(*arguments: Any, **others: Any) -> NoReturn:
        real(*arguments, **others)
        kill_dvc()

    return call


def train_stage(places: Sequence[str]) -> None:
    """The train stage, which kills `dvc repro` at a place; and one that refuses to make a step, or even to begin."""
    validate = Validation.on_train_batch_end

    def validate_or_kill(self: Validation, trainer: Any, module: Any, *rest: Any) -> None:
        kill_dvc() if module.step == 12 else validate(self, trainer, module, *rest)

    patches: dict[str, tuple[object, str, object]] = {
        "last validation": (Validation, "on_train_batch_end", validate_or_kill),
        "saved": (fitting, "save_model", killing_after(fitting.save_model)),
        "in its place": (fit, "put_finished", killing_after(fit.put_finished)),
        "no step": (TrainingModule, "_make_step", refuse),
        "no beginning": (fit, "initial_network", refuse),
    }
    with contextlib.ExitStack() as stack:
        for place in places:
            stack.enter_context(mock.patch.object(*patches[place]))
        stack.enter_context(mock.patch.object(process, "_restart_with_environment", lambda: None))
        stack.enter_context(mock.patch.object(sys, "argv", ["langmill.stages", "train", "reviews-lm"]))
        process.run_stage()


@pytest.fixture(scope="module")
def prepared_workspace(trainable_workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = Path(shutil.copytree(trainable_workspace, tmp_path_factory.mktemp("commit") / "workspace"))
    operation = workspace / "conf" / "operation" / "default.yaml"
    operation.write_text(operation.read_text().replace("sqlite:///.langmill/mlflow.db", NO_SERVER))
    write_recipe(workspace, "reviews-lm", ["training.checkpoint_every=1000", "model.options.dropout=0.1"])
    (workspace / "dvc.yaml").write_text(GRAPH)
    (workspace / ".dvc").mkdir()
    (workspace / ".dvc" / "config").write_text(DVC_SETTINGS)
    return workspace


@pytest.fixture(scope="module")
def expected(prepared_workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of a training that nobody killed."""
    untouched = Path(shutil.copytree(prepared_workspace, tmp_path_factory.mktemp("untouched") / "workspace"))
    return train(untouched, "reviews-lm", ["training.checkpoint_every=1000", "model.options.dropout=0.1"])


def repro(
    workspace: Path, *places: str, killed: tuple[type, str] | None = None, arguments: Sequence[str] = ()
) -> tuple[int, str]:
    """`dvc repro`, killed at a place of the stage or before something that DVC does; gives its exit code and output.

    It and its stage are forked instead of started: importing DVC and torch takes most of the time of both.
    """

    def run(_: object, command: str, **__: object) -> None:
        if code := fork(lambda: train_stage(places)):
            raise StageCmdFailedError(command, code)

    def prepare() -> None:
        mock.patch("dvc.stage.run._run", run).start()
        if killed is not None:
            mock.patch.object(*killed, die).start()

    result = fork_dvc(workspace, "repro", *arguments, prepare=prepare)
    with exclusive_lock(workspace / ".langmill/locks/train@reviews-lm.lock", "The test", wait=True):
        return result  # the stage has ended too


def test_no_repro_makes_a_step_again_wherever_the_ones_before_were_killed(
    prepared_workspace: Path, expected: Path, tmp_path: Path
) -> None:
    """One training, whose `dvc repro` is killed at one place after the other after its last step.

    What is half written at such a place is tried without DVC, in test_training_faults.py.
    """
    workspace = Path(shutil.copytree(prepared_workspace, tmp_path / "workspace"))
    assert repro(workspace, "last validation")[0] == -9
    assert repro(workspace, "saved", "no step")[0] == -9
    assert repro(workspace, "in its place", "no beginning")[0] == -9
    for owner, method in ((Stage, "save"), (Stage, "commit"), (Lockfile, "dump_stages")):
        assert repro(workspace, "no beginning", killed=(owner, method))[0] == -9, method
    code, said = repro(workspace, "no beginning")
    assert code == 0, said
    model = workspace / "build/models/reviews-lm"
    for name in ("model.safetensors", "manifest.json", "config.json"):
        assert (model / name).read_bytes() == (expected / name).read_bytes()
    assert "didn't change, skipping" in repro(workspace, "no beginning")[1]
    # What is committed is trained again when someone asks for it, and nothing is kept twice.
    assert "it was trained again" in repro(workspace, "no beginning", arguments=["-f"])[1]
    assert not list(workspace.glob(".langmill/runs/*/finished"))
