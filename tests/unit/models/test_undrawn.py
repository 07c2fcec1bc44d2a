"""Networks that are loaded draw no random weights first."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from langmill.models.layers.joined import Joined
from langmill.models.undrawn import undrawn

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Linear(3, 2),
        lambda: nn.Embedding(3, 2),
        lambda: nn.LSTM(3, 2),
        lambda: nn.MultiheadAttention(4, 2),
        lambda: nn.init.xavier_normal_(torch.empty(2, 3)),
        lambda: nn.init.trunc_normal_(torch.empty(2, 3)),
        lambda: nn.init.kaiming_normal_(torch.empty(2, 3)),
        lambda: torch.empty(2, 3).normal_(),
    ],
)
def test_nothing_is_drawn_and_the_generator_stays(make: object) -> None:
    assert callable(make)
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    with undrawn():
        before = torch.random.get_rng_state()
        make()
        assert torch.random.get_rng_state().equal(before)
        torch.rand(3)  # numbers that are asked for are still random
        assert not torch.random.get_rng_state().equal(before)
    assert torch.rand(3).equal(expected)
    make()
    assert not torch.random.get_rng_state().equal(before)


def test_what_is_not_random_is_computed() -> None:
    with undrawn():
        assert nn.LayerNorm(3).weight.tolist() == [1.0, 1.0, 1.0]
        assert nn.init.constant_(torch.empty(2), 7.0).tolist() == [7.0, 7.0]
        assert torch.empty(2).fill_(3.0).tolist() == [3.0, 3.0]


def test_what_is_undefined_is_not_copied_into_joined_memory() -> None:
    layers = [nn.Linear(4, 3, bias=False), nn.Linear(4, 2, bias=False)]
    weights = [layer.weight.detach().clone() for layer in layers]
    x = torch.randn(1, 4)
    torch.testing.assert_close(Joined(layers)(x), torch.cat([x @ weight.T for weight in weights], dim=1))
    with undrawn():
        joined = Joined(layers)
    for layer, weight in zip(layers, weights, strict=True):
        layer.load_state_dict({"weight": weight})
    assert joined.is_of(layers)
    torch.testing.assert_close(joined(x), torch.cat([x @ weight.T for weight in weights], dim=1))
