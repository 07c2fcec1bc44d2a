"""Attention maps: what the networks really mix their values with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from langmill.errors import ModelError
from langmill.models.base import Attends, AttendsToSource, Backbone, build_backbone
from tests.refused import refused
from tests.unit.models.conftest import MAX_LENGTH, OPTIONS, VOCAB_SIZE, randomise
from tests.unit.models.test_encoder_decoder import OPTIONS as T5_OPTIONS

pytestmark = pytest.mark.unit
LENGTHS = [20, 13, 1]


def backbone(name: str, options: dict[str, Any]) -> Backbone:
    torch.manual_seed(1)
    return randomise(build_backbone(name, options, VOCAB_SIZE, MAX_LENGTH, "test"), 0.3).eval()


def decoder() -> Any:
    return backbone("decoder", OPTIONS)


def encoder() -> Any:
    return backbone("encoder", OPTIONS)


def encoder_decoder() -> Any:
    return backbone("encoder_decoder", T5_OPTIONS)


@contextmanager
def outputs(modules: list[nn.Module]) -> Iterator[list[Tensor]]:
    """What modules give while the block runs."""
    found: list[Tensor] = []
    handles = [module.register_forward_hook(lambda _, __, given: found.append(given)) for module in modules]
    yield found
    for handle in handles:
        handle.remove()


@contextmanager
def inputs(modules: list[nn.Module]) -> Iterator[list[Tensor]]:
    found: list[Tensor] = []
    handles = [module.register_forward_pre_hook(lambda _, given: found.append(given[0])) for module in modules]
    yield found
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("make", [decoder, encoder, encoder_decoder])
def test_every_token_that_is_real_spreads_one_over_real_places(make: Any, tokens_BT: Tensor) -> None:
    network = make()
    assert isinstance(network, Attends)
    maps_LBHTS = network.attention(tokens_BT, torch.tensor(LENGTHS))
    assert maps_LBHTS.shape == (2, 3, 4, 20, 20)
    for row, length in enumerate(LENGTHS):
        real_LHTS = maps_LBHTS[:, row, :, :length]
        torch.testing.assert_close(real_LHTS.sum(dim=-1), torch.ones_like(real_LHTS[..., 0]))
        assert (real_LHTS >= 0).all()
        assert not real_LHTS[..., length:].any(), "padding was looked at"
        alone_LHTS = network.attention(tokens_BT[row : row + 1, :length])[:, 0]
        torch.testing.assert_close(alone_LHTS, real_LHTS[..., :length], rtol=1e-4, atol=1e-6)


def test_a_decoder_never_looks_ahead_and_an_encoder_does(tokens_BT: Tensor) -> None:
    assert not decoder().attention(tokens_BT).triu(1).any()
    assert encoder().attention(tokens_BT).triu(1).any(dim=-1)[..., :-1].all()


@pytest.mark.parametrize("make", [decoder, encoder])
def test_the_weights_times_the_values_are_what_the_forward_pass_gives(make: Any, tokens_BT: Tensor) -> None:
    network = make()
    attentions = [layer.self_attn for layer in network.layers]
    lengths_B = torch.tensor(LENGTHS)
    with torch.no_grad(), outputs(attentions) as given, inputs(attentions) as read:
        network(tokens_BT, lengths_B)
    maps_LBHTS = network.attention(tokens_BT, lengths_B)
    for attention, weights_BHTS, x_BTD, expected_BTD in zip(attentions, maps_LBHTS, read, given, strict=True):
        with torch.no_grad():
            v_BGTE = attention.v_proj(x_BTD).unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
            y_BHTE = weights_BHTS @ v_BGTE.repeat_interleave(2, dim=1)
            y_BTD = attention.o_proj(y_BHTE.transpose(1, 2).flatten(2))
        for row, length in enumerate(LENGTHS):
            torch.testing.assert_close(y_BTD[row, :length], expected_BTD[row, :length], rtol=0, atol=1e-5)


def test_the_same_of_an_encoder_decoder(tokens_BT: Tensor) -> None:
    network = encoder_decoder()
    assert isinstance(network, AttendsToSource)
    targets_BT = torch.randint(VOCAB_SIZE, (3, 11), generator=torch.Generator().manual_seed(9))
    lengths_B = torch.tensor(LENGTHS)
    own = [block.own.SelfAttention for block in network.encoder.blocks]
    cross = [block.cross.EncDecAttention for block in network.decoder.blocks]
    with torch.no_grad(), outputs(own + cross) as given, inputs(own) as read:
        memory_BSD = network.encode(tokens_BT, lengths_B)
        network.decode(targets_BT, memory_BSD, lengths_B)
    maps_LBHTS = network.cross_attention(tokens_BT, targets_BT, lengths_B)
    assert maps_LBHTS.shape == (3, 3, 4, 11, 20)
    torch.testing.assert_close(maps_LBHTS.sum(dim=-1), torch.ones(3, 3, 4, 11))
    for row, length in enumerate(LENGTHS):
        assert not maps_LBHTS[:, row, ..., length:].any()
    values = [*read, *[memory_BSD] * 3]
    weights = [*network.attention(tokens_BT, lengths_B), *maps_LBHTS]
    for attention, weights_BHTS, x_BSD, expected_BTD in zip(own + cross, weights, values, given, strict=True):
        with torch.no_grad():
            y_BHTE = weights_BHTS @ attention.heads(attention.v(x_BSD))
            y_BTD = attention.o(y_BHTE.transpose(1, 2).flatten(2))
        for row, length in enumerate(LENGTHS):
            end = length if y_BTD.shape[1] == 20 else 11
            torch.testing.assert_close(y_BTD[row, :end], expected_BTD[row, :end], rtol=0, atol=1e-5)


@pytest.mark.parametrize("make", [decoder, encoder, encoder_decoder])
def test_watching_leaves_nothing_behind(make: Any, tokens_BT: Tensor) -> None:
    network = make()
    with refused(ModelError, "impossible", "60", "32"):
        network.attention(tokens_BT.repeat(1, 3))
    maps = network.attention(tokens_BT)
    assert not maps.requires_grad
    assert not any(cast("nn.Module", module)._forward_pre_hooks for module in network.modules())
    assert all(weight.grad is None for weight in network.parameters())


def test_a_recurrent_network_has_no_attention() -> None:
    options = {"embedding_dim": 8, "dim": 8, "num_layers": 1, "tie_embeddings": True, "dropout": 0.0}
    assert not isinstance(backbone("gru", options), Attends | AttendsToSource)
