"""Repeated blocks are compiled once for all, and recomputed with the same gradients."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from langmill.errors import TrainingError
from langmill.models import functions
from langmill.models.base import build_backbone
from langmill.models.heads import LanguageModel
from langmill.training.blocks import prepare_blocks, repeated_blocks
from tests.refused import refused
from tests.unit.tasks.settings import tiny_options

pytestmark = pytest.mark.unit
VOCAB_SIZE, LENGTH = 40, 16


def language_model(**options: Any) -> LanguageModel:
    torch.manual_seed(1)
    network = LanguageModel(build_backbone("decoder", tiny_options() | options, VOCAB_SIZE, LENGTH, "test"))
    for weight in network.parameters():  # as drawn, each block is the identity
        nn.init.normal_(weight, std=0.1)
    return network


def gradients(network: LanguageModel) -> tuple[float, list[Tensor]]:
    torch.manual_seed(2)
    tokens = torch.randint(VOCAB_SIZE, (3, LENGTH + 1))
    loss = network.loss(tokens[:, :-1], tokens[:, 1:])
    network.zero_grad()
    loss.backward()
    return loss.item(), [weight.grad.clone() for weight in network.parameters() if weight.grad is not None]


class Item(nn.Module):
    """A block with a list of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])


def test_blocks_are_the_items_of_the_outermost_lists() -> None:
    network = language_model(num_layers=3)
    assert repeated_blocks(network) == list(network.model.layers)
    nested = nn.Sequential(nn.Linear(2, 2), nn.ModuleList([Item(), Item()]))
    assert [type(block) for block in repeated_blocks(nested)] == [Item, Item]
    assert repeated_blocks(nn.LSTM(2, 2)) == []


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_recomputed_blocks_have_the_same_gradients_to_the_last_bit(dropout: float) -> None:
    loss, expected = gradients(language_model(dropout=dropout))
    network = language_model(dropout=dropout)
    runs = []
    network.model.layers[0].mlp.register_forward_pre_hook(lambda *_: runs.append(1))
    prepare_blocks(network, compiled=False, recomputed=True)
    found_loss, found = gradients(network)
    assert found_loss == loss
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert len(runs) == 2  # forward, and again in the backward pass
    assert len(expected) == len(list(network.parameters()))


def test_nothing_is_recomputed_or_compiled_without_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda _: pytest.fail)
    network = language_model(dropout=0.0)
    tokens = torch.randint(VOCAB_SIZE, (2, LENGTH))
    with torch.no_grad():
        expected = network(tokens)
        prepare_blocks(network, compiled=True, recomputed=True)
        assert torch.equal(network(tokens), expected)


def test_names_of_weights_stay() -> None:
    network = language_model()
    names = list(network.state_dict())
    prepare_blocks(network, compiled=False, recomputed=True)
    assert list(network.state_dict()) == names


def test_a_network_without_blocks_has_nothing_to_recompute() -> None:
    prepare_blocks(nn.LSTM(2, 2), compiled=False, recomputed=False)
    with refused(TrainingError, "unsupported", "training.activation_checkpointing"):
        prepare_blocks(nn.LSTM(2, 2), compiled=False, recomputed=True)


@pytest.fixture
def only_graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Compiling as far as torch's graphs and their gradients, without minutes of a C++ compiler (test_variants.py)."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    torch._dynamo.reset()
    functions._compiled_gradients.cache_clear()
    torch._dynamo.utils.counters.clear()
    yield
    functions._compiled_gradients.cache_clear()


@pytest.mark.parametrize("recomputed", [False, True])
def test_blocks_are_compiled_once_for_all(recomputed: bool, only_graphs: None) -> None:
    loss, expected = gradients(language_model(num_layers=4, dropout=0.0))
    network = language_model(num_layers=4, dropout=0.0)
    prepare_blocks(network, compiled=True, recomputed=recomputed)
    found_loss, found = gradients(network)
    assert found_loss == pytest.approx(loss, rel=1e-6)
    assert all(torch.allclose(one, other, rtol=1e-4, atol=1e-6) for one, other in zip(found, expected, strict=True))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2  # the block, and the head's loss
