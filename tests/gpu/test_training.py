"""Trainings on a card: the CPU's losses, the same bytes again, and number formats that are what they are called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from langmill.training.checkpoint_callback import CheckpointCallback
from tests.golden.training import CASES, STEPS, largest_difference, losses_of
from tests.gpu.material import NEEDS_CARD, ON_CARD, contents, train

pytestmark = NEEDS_CARD
ROUNDING = 1e-4
"""What sums in another order may change of a loss, as between two processors."""


@pytest.mark.parametrize("name", CASES)
def test_losses_are_those_of_the_cpu(name: str, tmp_path: Path) -> None:
    on_cpu = losses_of(train(name, tmp_path / "cpu"))
    on_card = losses_of(train(name, tmp_path / "card", ON_CARD))
    step, part = largest_difference(on_card, on_cpu)
    print(f"{name}: differs by up to {part:.1e} of the loss (step {step})")
    assert part <= ROUNDING


class Stopped(Exception):
    """What ends a training right after a checkpoint."""


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Call it to have the next training stop after the checkpoint of a step."""
    save = CheckpointCallback.save

    def arm(step: int) -> None:
        def stopping(self: CheckpointCallback, trainer: object, module: object) -> None:
            save(self, trainer, module)  # type: ignore[arg-type]
            if module.step == step:  # type: ignore[attr-defined]
                monkeypatch.setattr(CheckpointCallback, "save", save)
                raise Stopped

        monkeypatch.setattr(CheckpointCallback, "save", stopping)

    return arm


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", CASES)
def test_a_run_and_one_that_was_stopped_give_the_same_bytes(
    name: str, precision: str, tmp_path: Path, stop_after: Callable[[int], None]
) -> None:
    overrides = ON_CARD, f"training.precision={precision}", "training.checkpoint_every=7"
    for out in ("one", "other"):
        train(name, tmp_path / out, *overrides, dropout=True)
    stop_after(14)
    with pytest.raises(Stopped):
        train(name, tmp_path / "stopped", *overrides, dropout=True)
    assert not (tmp_path / "stopped/model").exists()
    logged = train(name, tmp_path / "stopped", *overrides, dropout=True)
    assert len([values for values in logged if "train/loss" in values]) == STEPS  # none was made twice
    one, other, stopped = (contents(tmp_path / out / "model") for out in ("one", "other", "stopped"))
    assert one.keys() == other.keys() == stopped.keys()
    assert [file for file in one if one[file] != other[file]] == []
    assert [file for file in one if one[file] != stopped[file]] == []


@pytest.mark.parametrize("name", ["shakespeare-gpt", "catalogs-en-de", "spam", "reviews-mlm"])
def test_accumulation_changes_nothing_but_rounding(name: str, tmp_path: Path) -> None:
    whole, parts = (
        losses_of(train(name, tmp_path / size, ON_CARD, f"training.micro_batch_size={size}"))[:STEPS]
        for size in ("8", "2")
    )
    assert largest_difference(parts, whole)[1] <= ROUNDING


@pytest.mark.parametrize("name", ["shakespeare-gpt", "shakespeare-gru", "catalogs-en-de", "gpt2"])
def test_narrower_numbers_round_and_learn_the_same(name: str, tmp_path: Path) -> None:
    exact, *narrow = (
        losses_of(train(name, tmp_path / precision, ON_CARD, f"training.precision={precision}"))
        for precision in ("fp32", "tf32", "bf16")
    )
    for losses in narrow:
        part = largest_difference(losses, exact)[1]
        print(f"{name}: {part:.1e} of the loss from fp32")
        assert 0 < part < 0.02


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_what_is_logged_fits_a_card(precision: str, tmp_path: Path) -> None:
    logged = train("shakespeare-gpt", tmp_path, ON_CARD, f"training.precision={precision}")
    speeds = [values for values in logged if "tokens_per_second" in values]
    assert len(speeds) == STEPS
    total = torch.cuda.get_device_properties(0).total_memory / 2**20
    for values in speeds:
        assert 1 < values["memory_gpu_mb"] < total
        assert values["tokens_per_second"] > 100
        if precision == "bf16" and "model_flops_utilisation" in values:  # of a card whose peak is known
            assert 0 < values["model_flops_utilisation"] < 1
        else:
            assert values["model_gflops_per_second"] > 0


@pytest.mark.parametrize("name", ["shakespeare-gpt", "poems", "spam"])
def test_a_compiled_network_learns_the_same(name: str, tmp_path: Path) -> None:
    plain, compiled = (
        losses_of(train(name, tmp_path / value, ON_CARD, f"training.compile={value}")) for value in ("false", "true")
    )
    step, part = largest_difference(compiled, plain)
    print(f"{name}: compiled differs by up to {part:.1e} of the loss (step {step})")
    assert part <= ROUNDING
