"""Weighing of validation batches, patience, and the guard against numbers that are none."""

from __future__ import annotations

import dataclasses
import types

import pytest
import torch
from torch import nn

from langmill.config.compose import compose_recipe
from langmill.errors import TrainingError
from langmill.training.guard import StepMetrics
from langmill.training.module import TrainingModule
from langmill.training.reporting import Reporter
from langmill.training.validation import Validation, validation_loss
from tests.refused import refused
from tests.unit.training.material import RECIPES, REPOSITORY

pytestmark = pytest.mark.unit


class Given:
    """A task whose loss stands in the batch."""

    def loss(self, network: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        assert not network.training
        return batch["mean"]

    def num_targets(self, batch: dict[str, torch.Tensor]) -> float:
        return float(batch["items"])


def module() -> TrainingModule:
    training = compose_recipe(
        "reviews-lm", [*RECIPES["reviews-lm"], "training.early_stopping_patience=2"], REPOSITORY / "conf"
    ).training
    return TrainingModule(nn.Linear(2, 2), Given(), training, lambda *_: None, bf16=False, sharded=False)


def batch(mean: float, items: int) -> dict[str, torch.Tensor]:
    return {"mean": torch.tensor(mean), "items": torch.tensor(items)}


def test_batches_count_by_their_items():
    trained = module()
    assert validation_loss(trained, [batch(1.0, 30), batch(5.0, 10)], 0, 1) == 2.0
    assert trained.objective.training


def test_a_process_looks_at_its_own_batches_only():
    batches = [batch(1.0, 10), batch(2.0, 10), batch(3.0, 10)]
    assert validation_loss(module(), batches, 0, 2) == 2.0
    assert validation_loss(module(), batches, 1, 2) == 2.0


def test_patience_keeps_the_best_weights_and_stops():
    trained, trainer = (
        module(),
        types.SimpleNamespace(is_global_zero=True, global_rank=0, world_size=1, should_stop=False),
    )
    training = dataclasses.replace(trained.training_settings, samples=[])
    validation = Validation(
        training, [], None, Reporter("x", training, StepMetrics(), flops_per_token=None, peak_flops=None)
    )
    stopped = []
    for number, loss in enumerate([3.0, 2.0, 2.5, 2.0, 1.0], start=1):
        with torch.no_grad():
            trained.network.weight.fill_(number)
        trained.step = number * training.validate_every
        validation.batches = [batch(loss, 1)]
        validation.on_train_batch_end(trainer, trained)
        stopped.append(trainer.should_stop)
        if trainer.should_stop:
            break
    assert stopped == [False, False, False, True]  # neither worse nor equal is better
    assert validation.best_loss == 2.0
    assert validation.best_state["weight"].unique().tolist() == [2.0]


@pytest.mark.parametrize(
    ("losses", "norms", "facts"),
    [
        ([1.0, float("nan"), 2.0], [1.0, 1.0, 1.0], ["loss became nan", "step 9"]),
        ([1.0, 2.0, 3.0], [1.0, 1.0, float("inf")], ["gradient norm became inf", "step 10"]),
    ],
)
def test_a_number_that_is_none_is_named_with_its_step(losses, norms, facts):
    trained = module()
    trained.step = 10
    trained.losses, trained.norms = [torch.tensor(x) for x in losses], [torch.tensor(x) for x in norms]
    with refused(TrainingError, "diverged", *facts, "learning_rate (it is 0.003)"):
        StepMetrics().on_train_batch_end(None, trained)


def test_step_metrics_are_taken_once():
    trained, step_metrics = module(), StepMetrics()
    for step in (1, 2):
        trained.step, trained.tokens = step, 100
        trained.losses, trained.norms = [torch.tensor(float(step))], [torch.tensor(0.5)]
        step_metrics.on_train_batch_end(None, trained)
    assert step_metrics.take() == ([1.0, 2.0], [0.5, 0.5], 200)
    assert step_metrics.take() == ([], [], 0)
    assert step_metrics.tokens_seen == 200
    assert trained.losses == []
