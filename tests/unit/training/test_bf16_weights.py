"""Weights in bf16: rounded at random with the right mean, moved by AdamW as in fp32, the same in every process."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from langmill.training.bf16_weights import Rounding, RoundingAdamW, hold_in_bf16, round_stochastically

pytestmark = pytest.mark.unit
SPACING = 2.0**-7
"""Of bf16 between 1 and 2."""


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_rounding_goes_to_a_neighbour_and_keeps_the_mean() -> None:
    for exact in (1.0 + 0.3 * SPACING, -1.0 - 0.3 * SPACING):
        values = torch.full((200_000,), exact)
        rounded = round_stochastically(values, generator()).float()
        near, far = (1.0, 1.0 + SPACING) if exact > 0 else (-1.0, -1.0 - SPACING)
        assert set(rounded.tolist()) == {near, far}
        assert float((rounded == far).float().mean()) == pytest.approx(0.3, abs=0.005)  # five standard deviations


def test_what_bf16_holds_is_not_changed() -> None:
    values = torch.randn(1000).to(torch.bfloat16)
    assert torch.equal(round_stochastically(values.float(), generator()), values)
    extremes = torch.tensor([0.0, torch.inf, -torch.inf])
    assert torch.equal(round_stochastically(extremes, generator()).float(), extremes)


def test_every_process_rounds_alike_and_every_step_otherwise() -> None:
    values = torch.randn(1000)
    found = []
    for step in (3, 3, 4):
        rounding, weight = Rounding(), torch.zeros(1000, dtype=torch.bfloat16)
        rounding.begin(step)
        rounding.assign(weight, values)
        found.append(weight)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_in_fp32_it_is_adamw() -> None:
    torch.manual_seed(0)
    start = torch.randn(6, 5)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    optimizers = (
        RoundingAdamW([{"params": [ours], "lr": 0.1, "weight_decay": 0.2}], 0.1, (0.9, 0.95), Rounding()),
        torch.optim.AdamW([theirs], lr=0.1, weight_decay=0.2, betas=(0.9, 0.95)),
    )
    for _ in range(5):
        gradient = torch.randn(6, 5)
        for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
            parameter.grad = gradient.clone()
            optimizer.step()
    assert torch.allclose(ours, theirs, rtol=1e-6, atol=1e-7)


def test_steps_smaller_than_the_spacing_are_not_lost() -> None:
    """A thousand steps of a hundredth of the spacing each; rounded to the nearest, none would move a weight."""
    weights = nn.Parameter(torch.full((4000,), 1.5, dtype=torch.bfloat16))
    rounding = Rounding()
    rate = SPACING / 100
    optimizer = RoundingAdamW([{"params": [weights], "lr": rate, "weight_decay": 0.0}], rate, (0.9, 0.95), rounding)
    for step in range(1000):
        rounding.begin(step)
        weights.grad = torch.ones_like(weights)
        optimizer.step()
    assert float(1.5 - weights.detach().float().mean()) == pytest.approx(1000 * rate, rel=0.05)


def test_all_weights_are_held_in_bf16_or_the_frozen_ones_alone() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    network[0].register_buffer("table", torch.ones(2))
    network[0].weight.requires_grad_(False)
    hold_in_bf16(network)
    assert network[0].weight.dtype == torch.bfloat16
    assert {network[0].bias.dtype, network[1].weight.dtype, network[0].table.dtype} == {torch.float32}
    whole = nn.Linear(2, 2)
    hold_in_bf16(whole)
    assert {weight.dtype for weight in whole.parameters()} == {torch.bfloat16}
