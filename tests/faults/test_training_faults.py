"""What can go wrong around a training: numbers that are none, a damaged checkpoint, a full disk, a dead server."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch

from langmill.config.compose import load_section
from langmill.config.sections import Recipe
from langmill.errors import IntegrityError, SpaceError, TrainingError
from langmill.training import continuation
from langmill.training.fit import fit
from langmill.training.module import TrainingModule
from tests.unit.training.material import (
    curve,
    events,
    inside,
    make_workspace,
    train,
    weights,
    write_recipe,
)

pytestmark = pytest.mark.faults
DROPOUT = ["model.options.dropout=0.1"]


@pytest.fixture(scope="module")
def prepared_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workspace(tmp_path_factory.mktemp("faults") / "workspace")


@pytest.fixture
def workspace(prepared_workspace: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(prepared_workspace, tmp_path / "workspace"))


def checkpoints(workspace: Path) -> list[str]:
    return sorted(path.name for path in workspace.glob(".langmill/runs/*/checkpoints/*.ckpt"))


def test_a_loss_that_is_no_number_stops_and_saves_nothing_more(workspace, monkeypatch):
    make_step = TrainingModule._make_step

    def poisoned(self: TrainingModule, micro_batches: list[dict[str, torch.Tensor]]) -> None:
        if self.step == 6:
            with torch.no_grad():
                next(self.network.parameters()).fill_(float("nan"))
        make_step(self, micro_batches)

    monkeypatch.setattr(TrainingModule, "_make_step", poisoned)
    with pytest.raises(TrainingError, match=r"The loss became nan at step 7, .*learning_rate \(it is 0\.003\)"):
        train(workspace, "reviews-lm")
    assert checkpoints(workspace) == ["step-00000004.ckpt", "step-00000006.ckpt"]
    assert not (workspace / "build/models/reviews-lm").exists()
    assert max(curve(workspace, "train/loss")) == 6
    assert [event["status"] for event in events(workspace, "finish")] == ["FAILED"]


def test_a_damaged_checkpoint_is_passed_over(workspace, tmp_path, monkeypatch, caplog):
    expected = weights(train(Path(shutil.copytree(workspace, tmp_path / "untouched")), "reviews-lm", DROPOUT))
    interrupt_at(8, workspace, monkeypatch)
    path = next(workspace.glob(".langmill/runs/*/checkpoints/step-00000008.ckpt"))
    path.write_bytes(path.read_bytes()[:1000])
    with caplog.at_level(logging.INFO):
        model = train(workspace, "reviews-lm", DROPOUT)
    assert f"{path.name} is damaged or was not finished" in caplog.text
    assert "step-00000006.ckpt" in caplog.text
    assert weights(model) == expected


def test_a_full_disk_is_said_and_the_next_run_goes_on(workspace, tmp_path, monkeypatch):
    expected = weights(train(Path(shutil.copytree(workspace, tmp_path / "untouched")), "reviews-lm", DROPOUT))
    save = torch.save
    written = []

    def full(state: object, file: object) -> None:
        written.append(state)
        if len(written) == 4:
            raise OSError(28, "No space left on device")
        save(state, file)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(SpaceError, match="No space is left on the disk"):
        train(workspace, "reviews-lm", DROPOUT)
    monkeypatch.undo()
    assert checkpoints(workspace) == ["step-00000004.ckpt", "step-00000006.ckpt"]
    assert weights(train(workspace, "reviews-lm", DROPOUT)) == expected


def test_a_dead_tracking_server_stops_nothing_and_loses_nothing(workspace, caplog):
    write_recipe(workspace, "reviews-lm")
    with inside(workspace), caplog.at_level(logging.WARNING):
        fit(
            load_section(Recipe, Path("build/config/recipe/reviews-lm.yaml")),
            shards=Path("build/shards/reviews-lm"),
            tokenizer=Path("build/tokenizers/reviews"),
            base=None,
            runs=Path("runs"),
            out=Path("model"),
            tracking_uri="http://127.0.0.1:9",
        )
    assert "Not all of the run is in MLflow yet" in caplog.text
    log = next((workspace / "runs").glob("*/events.jsonl"))
    steps = [
        event["step"]
        for event in map(json.loads, log.read_text().splitlines())
        if event["kind"] == "metrics" and "train/loss" in event["values"]
    ]
    assert steps == [3, 6, 9, 12]
    assert (workspace / "model" / "model.safetensors").is_file()


def test_interrupted_in_the_middle_goes_on(workspace, tmp_path, monkeypatch):
    expected = weights(train(Path(shutil.copytree(workspace, tmp_path / "untouched")), "reviews-lm", DROPOUT))
    interrupt_at(4, workspace, monkeypatch)
    assert checkpoints(workspace) == ["step-00000002.ckpt", "step-00000004.ckpt"]
    assert not (workspace / "build/models/reviews-lm").exists()
    assert weights(train(workspace, "reviews-lm", DROPOUT)) == expected
    assert checkpoints(workspace) == []


def test_a_damaged_base_is_refused(workspace):
    base = train(workspace, "reviews-lm")
    path = base / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match=r"model\.safetensors"):
        train(workspace, "sentiment")


def test_tokens_that_were_not_finished_are_refused(workspace):
    (workspace / "build/shards/reviews-lm/manifest.json").unlink()
    with pytest.raises(IntegrityError, match="is not a finished result"):
        train(workspace, "reviews-lm")


def interrupt_at(step: int, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train until the checkpoint of a step is written, and have Ctrl-C pressed then."""
    save = continuation.save_checkpoint

    def save_and_stop(folder: Path, at: int, state: dict[str, object]) -> None:
        save(folder, at, state)
        if at == step:
            raise KeyboardInterrupt

    monkeypatch.setattr(continuation, "save_checkpoint", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        train(workspace, "reviews-lm", DROPOUT)
    monkeypatch.undo()
