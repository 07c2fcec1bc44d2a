"""The settings for large networks on a card: what must not change does not, and what rounds rounds a little."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from langmill.models.functions import head_cross_entropy
from langmill.training.muon import orthogonalize
from tests.golden.training import largest_difference, losses_of
from tests.gpu.material import NEEDS_CARD, ON_CARD, contents, train
from tests.gpu.test_training import ROUNDING, Stopped, stop_after

__all__ = ["stop_after"]
pytestmark = NEEDS_CARD
NARROW = 0.02
"""What bf16 may change of a loss."""
BLOCKS = ["shakespeare-gpt", "catalogs-en-de", "gpt2"]
"""Recipes whose networks have blocks."""


@pytest.fixture(autouse=True)
def no_group_is_left() -> Iterator[None]:
    """A training of several processes ends with its process; here there is one for all tests."""
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


def difference(name: str, folder: Path, *overrides: str, against: tuple[str, ...] = (), dropout: bool = False) -> float:
    one = losses_of(train(name, folder / "one", ON_CARD, *against, dropout=dropout))
    other = losses_of(train(name, folder / "other", ON_CARD, *overrides, dropout=dropout))
    part = largest_difference(other, one)[1]
    print(f"{name}, {', '.join(overrides)}: {part:.1e} of the loss")
    return part


@pytest.mark.parametrize("compiled", ["false", "true"])
@pytest.mark.parametrize("name", BLOCKS)
def test_recomputed_activations_have_the_same_losses(name: str, compiled: str, tmp_path: Path) -> None:
    shared = f"training.compile={compiled}"
    recomputed = "training.activation_checkpointing=true"
    assert difference(name, tmp_path, shared, recomputed, against=(shared,), dropout=True) <= ROUNDING


@pytest.mark.parametrize("name", BLOCKS)
def test_faster_operations_learn_the_same(name: str, tmp_path: Path) -> None:
    assert difference(name, tmp_path, "training.deterministic=false") <= ROUNDING


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize(("precision", "most"), [("fp32", ROUNDING), ("bf16", NARROW)])
def test_one_device_is_sharded(optimizer: str, precision: str, most: float, tmp_path: Path) -> None:
    shared = f"training.optimizer.name={optimizer}", f"training.precision={precision}"
    assert difference("shakespeare-gpt", tmp_path, *shared, "training.strategy=fsdp", against=shared) <= most


@pytest.mark.parametrize("weights", ["fp32", "bf16"])
def test_a_sharded_run_that_was_stopped_gives_the_same_bytes(
    weights: str, tmp_path: Path, stop_after: Callable[[int], None]
) -> None:
    overrides = (
        ON_CARD,
        "training.strategy=fsdp",
        "training.precision=bf16",
        f"training.weights={weights}",
        "training.checkpoint_every=7",
    )
    train("shakespeare-gpt", tmp_path / "whole", *overrides, dropout=True)
    dist.destroy_process_group()
    stop_after(14)
    with pytest.raises(Stopped):
        train("shakespeare-gpt", tmp_path / "stopped", *overrides, dropout=True)
    dist.destroy_process_group()
    train("shakespeare-gpt", tmp_path / "stopped", *overrides, dropout=True)
    assert contents(tmp_path / "whole/model") == contents(tmp_path / "stopped/model")


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_weights_in_bf16_learn_the_same(optimizer: str, tmp_path: Path) -> None:
    shared = f"training.optimizer.name={optimizer}", "training.precision=bf16"
    assert difference("shakespeare-gpt", tmp_path, *shared, "training.weights=bf16", against=shared) <= NARROW


def test_the_iteration_in_bf16_comes_as_near_to_one() -> None:
    torch.manual_seed(0)
    matrices = torch.randn(3, 64, 256, device="cuda")
    values = torch.linalg.svdvals(orthogonalize(matrices.bfloat16()).float())
    assert 0.5 < float(values.min()) < float(values.max()) < 1.4


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_compiled_loss_is_the_plain_one(label_smoothing: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    targets = torch.randint(-2, 500, (700,), device="cuda")
    found = []
    for fused in (False, True):
        torch.manual_seed(1)
        hidden = torch.randn(700, 32, device="cuda", dtype=dtype, requires_grad=True)
        weight = torch.randn(500, 32, device="cuda", dtype=dtype, requires_grad=True)
        loss = head_cross_entropy(hidden, weight, targets, label_smoothing, fused=fused)
        loss.backward()
        found.append((loss.detach(), hidden.grad, weight.grad))
    rounding = 1e-5 if dtype == torch.float32 else 1e-2
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, rtol=rounding, atol=rounding * float(one.abs().max()))
