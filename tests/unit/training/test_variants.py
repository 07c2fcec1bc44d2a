"""Trainings by the settings for large networks, through the whole of `fit`: what they must not change, they do not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from langmill.errors import TrainingError
from langmill.models import functions
from langmill.models.folder import load_state
from langmill.training import checkpoint_callback
from tests.refused import refused
from tests.unit.training.material import curve, train, weights

pytestmark = pytest.mark.unit
DROPOUT = ["model.options.dropout=0.2", "training.samples=[]"]


@pytest.fixture(autouse=True)
def no_group_is_left() -> Iterator[None]:
    """A training of several processes ends with its process; here there is one for all tests."""
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


def close(one: Path, other: Path, tolerance: float) -> bool:
    ours, theirs = load_state(one), load_state(other)
    assert ours.keys() == theirs.keys()
    assert {tensor.dtype for tensor in ours.values()} == {torch.float32}
    return all(torch.allclose(ours[name], theirs[name], atol=tolerance) for name in ours)


def interrupt(workspace: Path, overrides: list[str], monkeypatch: pytest.MonkeyPatch, saver: str) -> None:
    """Train as "resumed" until the checkpoint of step 6 is written by `saver`."""
    save = getattr(checkpoint_callback, saver)

    def save_and_stop(folder: Path, step: int, state: dict[str, object]) -> None:
        save(folder, step, state)
        if step == 6:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint_callback, saver, save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            train(workspace, "reviews-lm", overrides, out="resumed")


def test_activation_checkpointing_gives_the_same_bytes(workspace: Path) -> None:
    usual = train(workspace, "reviews-lm", DROPOUT, out="usual")
    recomputed = train(workspace, "reviews-lm", [*DROPOUT, "training.activation_checkpointing=true"], out="recomputed")
    assert weights(usual) == weights(recomputed)


def test_what_may_vary_gives_the_same_bytes_on_a_cpu(workspace: Path) -> None:
    usual = train(workspace, "reviews-lm", DROPOUT, out="usual")
    free = train(workspace, "reviews-lm", [*DROPOUT, "training.deterministic=false"], out="free")
    assert weights(usual) == weights(free)


def test_one_device_is_sharded_and_learns_the_same(workspace: Path) -> None:
    usual = train(workspace, "reviews-lm", ["training.samples=[]"], out="usual")
    sharded = ["training.samples=[]", "training.strategy=fsdp"]
    assert close(usual, train(workspace, "reviews-lm", sharded, out="sharded"), 1e-5)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_a_sharded_training_that_was_interrupted_ends_with_the_same_bytes(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    overrides = [*DROPOUT, "training.strategy=fsdp", f"training.optimizer.name={name}"]
    whole = train(workspace, "reviews-lm", overrides, out="whole")
    dist.destroy_process_group()
    interrupt(workspace, overrides, monkeypatch, "save_sharded_checkpoint")
    dist.destroy_process_group()
    (checkpoint,) = workspace.glob(".langmill/runs/*/checkpoints/step-00000006.ckpt")
    assert [path.name for path in checkpoint.iterdir()] == ["process-00000.ckpt"]
    assert weights(train(workspace, "reviews-lm", overrides, out="resumed")) == weights(whole)


def test_weights_in_bf16_learn_as_well_and_resume(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = [*DROPOUT, "training.precision=bf16", "training.optimizer.name=muon"]
    train(workspace, "reviews-lm", overrides, out="usual")
    usual = curve(workspace, "validation/loss")
    for event in workspace.glob(".langmill/runs/*/events.jsonl"):
        event.unlink()
    overrides.append("training.weights=bf16")
    narrow = train(workspace, "reviews-lm", overrides, out="narrow")
    assert curve(workspace, "validation/loss") == pytest.approx(usual, rel=0.01)
    assert {tensor.dtype for tensor in load_state(narrow).values()} == {torch.float32}
    interrupt(workspace, overrides, monkeypatch, "save_checkpoint")
    assert weights(train(workspace, "reviews-lm", overrides, out="resumed")) == weights(narrow)


RECURRENT = [
    "model.architecture=gru", "~model.options",
    "+model.options={embedding_dim: 16, dim: 32, num_layers: 2, tie_embeddings: false, dropout: 0.0}",
]  # fmt: skip


def test_a_recurrent_network_learns_with_weights_in_bf16_too(workspace: Path) -> None:
    overrides = [*RECURRENT, "training.samples=[]", "training.precision=bf16"]
    train(workspace, "reviews-lm", overrides, out="usual")
    usual = curve(workspace, "validation/loss")
    for event in workspace.glob(".langmill/runs/*/events.jsonl"):
        event.unlink()
    train(workspace, "reviews-lm", [*overrides, "training.weights=bf16"], out="narrow")
    assert curve(workspace, "validation/loss") == pytest.approx(usual, rel=0.01)


def test_weights_in_bf16_are_refused_where_products_are_not(workspace: Path) -> None:
    with refused(TrainingError, "unsupported", "training.weights is bf16"):
        train(workspace, "reviews-lm", ["training.weights=bf16", "training.precision=fp32"])


@pytest.mark.slow
def test_compiled_blocks_learn_the_same(workspace: Path) -> None:
    """Slow, because a C++ compiler runs; how sharded blocks are compiled is in tests/pipeline/test_training.py."""
    functions._compiled_gradients.cache_clear()
    usual = train(workspace, "reviews-lm", ["training.samples=[The film]"], out="usual")
    overrides = ["training.samples=[The film]", "training.compile=true", "training.activation_checkpointing=true"]
    assert close(usual, train(workspace, "reviews-lm", overrides, out="compiled"), 1e-4)
