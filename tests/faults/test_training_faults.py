"""What can go wrong around a training: numbers that are none, a damaged checkpoint, a full disk, a dead server."""

from __future__ import annotations

import json
import logging
import os
import shutil
from pathlib import Path

import pytest
import torch

from langmill.config.compose import load_section
from langmill.config.sections import Recipe
from langmill.errors import IntegrityError, SpaceError, TrainingError
from langmill.files import read_manifest
from langmill.stages import encode, tokenizer
from langmill.tracking.run_log import RunLog
from langmill.training import checkpoint_callback, fitting
from langmill.training import fit as fit_module
from langmill.training.fit import fit
from langmill.training.module import TrainingModule
from langmill.training.validation import Validation
from tests.refused import refused
from tests.unit.training.material import (
    curve,
    events,
    inside,
    train,
    weights,
    write_recipe,
)

pytestmark = pytest.mark.faults
DROPOUT = ["model.options.dropout=0.1"]


@pytest.fixture
def workspace(trainable_workspace: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trainable_workspace, tmp_path / "workspace"))


def checkpoints(workspace: Path) -> list[str]:
    return sorted(path.name for path in workspace.glob(".langmill/runs/*/checkpoints/*.ckpt"))


def test_a_loss_that_is_no_number_stops_and_saves_nothing_more(workspace, monkeypatch):
    make_step = TrainingModule._make_step

    def poisoned(self: TrainingModule, *arguments: object) -> None:
        if self.step == 6:
            with torch.no_grad():
                next(self.network.parameters()).fill_(float("nan"))
        make_step(self, *arguments)

    monkeypatch.setattr(TrainingModule, "_make_step", poisoned)
    with refused(TrainingError, "diverged", "nan at step 7", "learning_rate (it is 0.003)"):
        train(workspace, "reviews-lm")
    assert checkpoints(workspace) == ["step-00000004.ckpt", "step-00000006.ckpt"]
    assert not (workspace / "build/models/reviews-lm").exists()
    assert max(curve(workspace, "train/loss")) == 6
    assert [event["status"] for event in events(workspace, "finish")] == ["FAILED"]


def test_a_damaged_checkpoint_is_skipped(workspace, tmp_path, monkeypatch, caplog):
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
    with refused(SpaceError, "full"):
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
    with refused(IntegrityError, "damaged", "model.safetensors"):
        train(workspace, "sentiment-decoder")


def test_damaged_tokens_are_refused(workspace):
    """Every 64th byte flipped, the file's mode and times kept: no weights of them may carry the data's provenance."""
    path = workspace / "build/shards/reviews-lm/train.tokens"
    before = path.stat()
    data = bytearray(path.read_bytes())
    for place in range(0, len(data), 64):
        data[place] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with refused(IntegrityError, "damaged", "shards/reviews-lm", "train.tokens"):
        train(workspace, "reviews-lm")
    with inside(workspace):
        for stage, name in ((encode, "reviews-lm"), (tokenizer, "reviews")):
            damaged = next(Path("build/documents/reviews").glob("train*"))
            whole = damaged.read_bytes()
            damaged.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
            with refused(IntegrityError, "damaged", "documents/reviews"):
                stage.main(name)
            damaged.write_bytes(whole)
        vocabulary = Path("build/tokenizers/reviews/tokenizer.json")
        vocabulary.write_text(vocabulary.read_text() + "\n")
        with refused(IntegrityError, "damaged", "tokenizers/reviews"):
            encode.main("reviews-lm")


@pytest.mark.parametrize(
    ("raised", "status"), [(KeyboardInterrupt(), "KILLED"), (MemoryError(), "FAILED"), (KeyError("bug"), "FAILED")]
)
def test_however_a_training_ends_its_run_says_so(workspace, monkeypatch, raised, status):
    make_step = TrainingModule._make_step

    def broken(self: TrainingModule, *arguments: object) -> None:
        if self.step == 6:
            raise raised
        make_step(self, *arguments)

    monkeypatch.setattr(TrainingModule, "_make_step", broken)
    with pytest.raises(type(raised)):
        train(workspace, "reviews-lm")
    monkeypatch.undo()
    assert [event["status"] for event in events(workspace, "finish")] == [status]
    train(workspace, "reviews-lm")
    assert [event["kind"] for event in events(workspace, "resume")] == ["resume"]
    assert [event["status"] for event in events(workspace, "finish")] == [status, "FINISHED"]


@pytest.mark.parametrize("place", ["last validation", "saving", "its place", "sending"])
def test_killed_after_the_last_step_no_step_is_made_again(workspace, tmp_path, monkeypatch, place):
    """No checkpoint but that of the last step: what is made again would be made from step 0."""
    overrides = [*DROPOUT, "training.checkpoint_every=1000", "training.early_stopping_patience=3"]
    untouched = Path(shutil.copytree(workspace, tmp_path / "untouched"))
    expected = train(untouched, "reviews-lm", overrides)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    def killed_at_the_end(self: Validation, trainer: object, module: TrainingModule, *_: object) -> None:
        validate(self, trainer, module)
        if module.step == 12:
            raise KeyboardInterrupt

    validate = Validation.on_train_batch_end
    targets = {
        "last validation": (Validation, "on_train_batch_end", killed_at_the_end),
        "saving": (fitting, "save_model", killed),
        "its place": (fit_module, "put_finished", killed),
        "sending": (RunLog, "finish", killed),
    }
    monkeypatch.setattr(*targets[place])
    with pytest.raises(KeyboardInterrupt):
        train(workspace, "reviews-lm", overrides, is_committed=lambda _: False)
    monkeypatch.undo()
    shutil.rmtree(workspace / "build/models", ignore_errors=True)  # as DVC does before it starts a stage

    def step(*_: object) -> None:
        raise AssertionError("a step was made again")

    monkeypatch.setattr(TrainingModule, "_make_step", step)
    model = train(workspace, "reviews-lm", overrides, is_committed=lambda _: False)
    for name in ("model.safetensors", "manifest.json", "config.json"):
        assert (model / name).read_bytes() == (expected / name).read_bytes()
    assert curve(workspace, "validation/loss") == curve(untouched, "validation/loss")
    assert checkpoints(workspace) == []
    assert events(workspace, "finish")[-1]["status"] == "FINISHED"


def test_a_finished_model_is_kept_until_it_is_committed(workspace):
    kept = lambda: sorted(path.parent.name for path in workspace.glob(".langmill/runs/*/finished"))  # noqa: E731
    model = train(workspace, "reviews-lm", is_committed=lambda _: False)
    first = kept()
    assert len(first) == 1
    manifest = read_manifest(model, verify=True)
    assert first == [manifest["provenance"]]
    finished = workspace / ".langmill/runs" / first[0] / "finished"
    assert (finished / "model.safetensors").stat().st_ino == (model / "model.safetensors").stat().st_ino  # no more disk
    train(workspace, "reviews-lm", ["training.seed=2"], is_committed=lambda _: False)
    assert len(kept()) == 1 and kept() != first  # at most one of a recipe
    train(workspace, "sentiment-decoder", is_committed=lambda _: True)
    assert [json.loads((workspace / f".langmill/runs/{name}/finished/manifest.json").read_text())["recipe"]
            for name in kept()] == ["sentiment-decoder"]  # fmt: skip


def test_a_damaged_finished_model_is_not_taken(workspace, caplog):
    model = train(workspace, "reviews-lm", is_committed=lambda _: False)
    expected = weights(model)
    kept = next(workspace.glob(".langmill/runs/*/finished/model.safetensors"))
    shutil.rmtree(model)
    kept.write_bytes(expected[:-1] + bytes([expected[-1] ^ 1]))
    assert weights(train(workspace, "reviews-lm", is_committed=lambda _: False)) == expected
    assert "is damaged, so it is trained again" in caplog.text


def test_tokens_that_were_not_finished_are_refused(workspace):
    (workspace / "build/shards/reviews-lm/manifest.json").unlink()
    with refused(IntegrityError, "damaged", "finished result"):
        train(workspace, "reviews-lm")


def interrupt_at(step: int, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train until the checkpoint of a step is written, and have Ctrl-C pressed then."""
    save = checkpoint_callback.save_checkpoint

    def save_and_stop(folder: Path, at: int, state: dict[str, object]) -> None:
        save(folder, at, state)
        if at == step:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint_callback, "save_checkpoint", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        train(workspace, "reviews-lm", DROPOUT)
    monkeypatch.undo()
