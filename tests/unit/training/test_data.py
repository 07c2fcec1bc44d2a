"""Spans of steps, and an order of batches that depends on nothing but the settings and the step."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from langmill.config.compose import compose_recipe
from langmill.config.sections import Training
from langmill.tasks.base import build_task
from langmill.tokenization.shards import Shard
from langmill.training.data import StepLoader, count_tokens, step_ranges
from tests.unit.training.material import RECIPES, REPOSITORY

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def training() -> Training:
    return compose_recipe("reviews-lm", RECIPES["reviews-lm"], REPOSITORY / "conf").training


def test_a_span_ends_wherever_something_happens(training):
    training = dataclasses.replace(training, steps=20, log_every=5, validate_every=8, checkpoint_every=6)
    found = list(step_ranges(0, training))
    assert [steps.stop for steps in found] == [5, 6, 8, 10, 12, 15, 16, 18, 20]
    assert [steps.start for steps in found] == [0, *(steps.stop for steps in found[:-1])]


def test_a_span_is_never_longer_than_memory_should_hold(training):
    training = dataclasses.replace(training, steps=1000, log_every=500, validate_every=500, checkpoint_every=500)
    assert max(len(steps) for steps in step_ranges(0, training)) == 64
    training = dataclasses.replace(training, batch_size=80 * training.micro_batch_size)
    assert {len(steps) for steps in step_ranges(0, training)} == {1}


def test_after_the_last_step_a_span_without_steps_is_left(training):
    assert list(step_ranges(training.steps, training)) == [range(12, 12)]  # in which the last validation is made


@pytest.mark.parametrize("name", ["reviews-lm", "sentiment-decoder"])
@pytest.mark.parametrize("start", [0, 1, 7])
def test_the_rest_of_a_training_is_the_same_from_wherever_it_goes_on(prepared_workspace, name, start):
    training = compose_recipe(name, [*RECIPES[name], "training.micro_batch_size=4"], REPOSITORY / "conf").training
    batches = micro_batches(prepared_workspace, name, training, rank=0, world_size=1)
    whole = [batch for steps in StepLoader(batches, training, 0) for batch in steps]
    rest = [batch for steps in StepLoader(batches, training, start) for batch in steps]
    assert len(whole) == training.steps * training.accumulation
    assert_equal(rest, whole[start * training.accumulation :])


@pytest.mark.parametrize("name", ["reviews-lm", "sentiment-decoder"])
def test_two_processes_read_what_one_reads(prepared_workspace, name):
    training = compose_recipe(name, [*RECIPES[name], "training.micro_batch_size=4"], REPOSITORY / "conf").training
    of_one = micro_batches(prepared_workspace, name, training, rank=0, world_size=1)
    halves = [micro_batches(prepared_workspace, name, training, rank=rank, world_size=2) for rank in range(2)]
    assert_equal([half[step] for step in range(12) for half in halves], [of_one[index] for index in range(24)])


def test_padding_is_not_counted():
    padded = {"tokens": torch.zeros(2, 5, dtype=torch.long), "lengths": torch.tensor([5, 2])}
    packed = {"tokens": torch.zeros(3, 4, dtype=torch.long)}
    assert count_tokens([padded, packed]) == 7 + 12


def micro_batches(workspace, name, training, *, rank, world_size):
    recipe = compose_recipe(name, RECIPES[name], REPOSITORY / "conf")
    task = build_task(recipe.task.name, recipe.task.options, ["0", "1"], "test")
    shard = Shard.open(workspace / "build" / "shards" / name, "train")
    return task.micro_batches(shard, training, rank=rank, world_size=world_size, eot_id=0)


def assert_equal(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
