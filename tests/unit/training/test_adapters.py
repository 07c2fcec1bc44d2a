"""Training an adapter beside frozen weights: nothing is kept for what does not change, in memory or in checkpoints."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from langmill.errors import TrainingError
from langmill.training import checkpoint_callback
from langmill.training.optimizer import build_optimizer
from langmill.training.sharding import full_state, load_trained_state, trained_state
from tests.golden.training import prepare, recipe_of, train_prepared
from tests.refused import refused
from tests.unit.tasks.settings import training

pytestmark = pytest.mark.unit


def partly_frozen() -> nn.Module:
    """Two layers, of which the first is frozen, with a buffer and a shared weight."""
    torch.manual_seed(0)
    network = nn.Module()
    network.model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3))
    network.shared = network.model[2].weight
    network.model[0].requires_grad_(False)
    return network


def test_frozen_weights_have_no_gradient_and_no_state() -> None:
    network = partly_frozen()
    optimizer = build_optimizer(network, training().optimizer, 100)
    network.model(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    frozen = list(network.model[0].parameters())
    assert all(weight.grad is None for weight in frozen)
    assert not {id(weight) for weight in frozen} & {id(weight) for weight in optimizer.state}
    assert len(optimizer.state) == len(list(network.parameters())) - len(frozen)


def test_what_training_changes_is_stored_and_put_back() -> None:
    network = partly_frozen()
    state = trained_state(network)
    assert not any(name.startswith("model.0.") for name in state)
    assert {"model.1.running_mean", "model.2.weight", "shared"} <= state.keys()
    assert full_state(network, trained_only=True).keys() == state.keys()
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(1.0)
    changed = network.model[0].weight.clone()
    load_trained_state(network, state)
    assert all(torch.equal(network.state_dict()[name], value) for name, value in state.items())
    assert torch.equal(network.model[0].weight, changed)
    del state["shared"]
    with refused(TrainingError, "mismatch", "another network"):
        load_trained_state(network, state)


@pytest.mark.parametrize("patience", [0, 5])
def test_an_interrupted_adapter_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: int
) -> None:
    overrides = ["training.checkpoint_every=7", f"training.early_stopping_patience={patience}"]
    recipe = recipe_of("sentiment-minilm-lora", *overrides, "training.validate_every=5")
    saved: list[dict[str, Any]] = []
    save = checkpoint_callback.save_checkpoint

    def save_and_stop(folder: Path, step: int, state: dict[str, Any]) -> None:
        save(folder, step, state)
        saved.append(state)
        if step == 14:
            raise KeyboardInterrupt

    with contextlib.chdir(tmp_path):
        prepare(recipe)
        train_prepared(recipe, Path("whole"))
        monkeypatch.setattr(checkpoint_callback, "save_checkpoint", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            train_prepared(recipe, Path("stopped"))
        monkeypatch.undo()
        train_prepared(recipe, Path("stopped"))
    for name in ("model.safetensors", "manifest.json", "adapter/adapter_model.safetensors"):
        assert (tmp_path / "whole/model" / name).read_bytes() == (tmp_path / "stopped/model" / name).read_bytes()
    state = saved[-1]
    trained = [name for name in state["network"] if "lora_" in name]
    assert trained
    assert len(trained) < len(state["network"]) < 2 * len(trained)  # the head, and nothing of the base
    assert bool(state["validation"]["best_state"]) is bool(patience)
    assert set(state["validation"]["best_state"]) <= set(state["network"])
