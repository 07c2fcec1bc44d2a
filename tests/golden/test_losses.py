"""The losses of training are those that were recorded: a change that is to change no mathematics changes none.

On the kind of machine that recorded them they come again to a millionth. Elsewhere sums are added in another order and
dropout draws other numbers, so there the trainings are made without dropout and compared more loosely.
"""

from __future__ import annotations

import functools

import pytest

from langmill.models.base import ARCHITECTURES
from tests.golden.training import CASES, STEPS, Machine, largest_difference, recipe_of, recorded_for, train

pytestmark = pytest.mark.pipeline
HERE = 1e-6
ELSEWHERE = 1e-4
"""Thirty times what the same processor differed by at most without its vector units (3e-6 of a loss). A norm's epsilon
of 1e-6 for 1e-5, or a step's loss as a mean of means, changes some of the losses by more than ten times as much."""
here = functools.cache(Machine.here)


def test_every_architecture_has_recorded_losses() -> None:
    own = {name for name in ARCHITECTURES.names() if ARCHITECTURES.find(name).__module__.startswith("langmill.models.")}
    missing = own - {recipe_of(name).model.architecture for name in CASES}
    assert not missing, (
        f"No training of {', '.join(sorted(missing))} has recorded losses: name a recipe with that architecture in "
        "CASES (tests/golden/training.py) and record its losses with `python -m tests.golden.record`."
    )


@pytest.mark.parametrize("name", CASES)
def test_losses_are_the_recorded_ones(name: str) -> None:
    recorded, same = recorded_for(here())
    expected = recorded.as_shipped if same else recorded.without_dropout
    assert name in expected, (
        f"{recorded.path.name} has no losses of {name}; record them with `python -m tests.golden.record`."
    )
    losses = train(name, dropout=same)
    step, part = largest_difference(losses, expected[name])
    where = "the validation after the last step" if step > STEPS else f"step {step}"
    assert part <= (HERE if same else ELSEWHERE), (
        f"The loss of {name} at {where} is {losses[step - 1]:.9g} and not {expected[name][step - 1]:.9g} "
        f"({recorded.path.name}): {part:.1e} of it apart. If the mathematics were meant to change, record the losses "
        "with `python -m tests.golden.record` and say in the commit why they did; else the change is wrong."
    )
