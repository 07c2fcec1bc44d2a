"""Checkpoints are whole, checked by digest, and hold nothing that could run."""

from __future__ import annotations

import collections
import logging

import pytest
import torch

from langmill.errors import SpaceError, TrainingError
from langmill.training.checkpoints import (
    checkpoint_path,
    load_checkpoint,
    newest_valid,
    save_checkpoint,
)
from tests.refused import refused

pytestmark = pytest.mark.unit


def state(step: int) -> dict[str, object]:
    return {"step": step, "network": {"weight": torch.full((3,), float(step))}, "lists": [1.5, {"a": True}]}


def test_a_state_comes_back_as_it_was(tmp_path):
    path = save_checkpoint(tmp_path, 7, state(7))
    assert path.name == "step-00000007.ckpt"
    found = load_checkpoint(path)
    assert found["network"]["weight"].tolist() == [7.0, 7.0, 7.0]
    assert (found["step"], found["lists"]) == (7, [1.5, {"a": True}])


def test_the_newest_two_are_kept(tmp_path):
    for step in (5, 10, 15):
        save_checkpoint(tmp_path, step, state(step))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step-00000010.ckpt",
        "step-00000010.ckpt.sha256",
        "step-00000015.ckpt",
        "step-00000015.ckpt.sha256",
    ]
    assert newest_valid(tmp_path) == checkpoint_path(tmp_path, 15)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "without digest"])
def test_a_damaged_one_is_skipped_and_said_so(tmp_path, damage, caplog):
    save_checkpoint(tmp_path, 5, state(5))
    path = save_checkpoint(tmp_path, 10, state(10))
    data = bytearray(path.read_bytes())
    if damage == "truncated":
        path.write_bytes(data[:-100])
    elif damage == "flipped":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    else:
        path.with_name(path.name + ".sha256").unlink()
    with caplog.at_level(logging.WARNING):
        assert newest_valid(tmp_path) == checkpoint_path(tmp_path, 5)
    assert f"{path} is damaged or was not finished" in caplog.text


def test_without_any_there_is_nothing_to_go_on_from(tmp_path):
    assert newest_valid(tmp_path) is None
    assert newest_valid(tmp_path / "missing") is None


def test_an_object_is_refused(tmp_path):
    path = save_checkpoint(tmp_path, 1, {"object": collections.Counter("ab"), "evil": logging.Handler})
    with refused(TrainingError, "unreadable", str(path)):
        load_checkpoint(path)


def test_a_full_disk_leaves_the_older_one(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, 5, state(5))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with refused(SpaceError, "full", str(tmp_path)):
        save_checkpoint(tmp_path, 10, state(10))
    assert newest_valid(tmp_path) == checkpoint_path(tmp_path, 5)
    assert not list(tmp_path.glob("*.tmp"))
