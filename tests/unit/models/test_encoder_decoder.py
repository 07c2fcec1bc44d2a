"""The encoder-decoder: equal to Hugging Face's T5, with and without a cache, and indifferent to padding."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

from langmill.errors import Code, ConfigError, ModelError
from langmill.models.base import EncoderDecoder, Kind, build_backbone
from langmill.models.heads import TextToText
from langmill.models.layers.t5 import bucket
from tests.refused import refused
from tests.unit.models.conftest import MAX_LENGTH, VOCAB_SIZE, randomise

pytestmark = pytest.mark.unit
OPTIONS: dict[str, Any] = {
    "dim": 32,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 4,
    "hidden_dim": 48,
    "num_buckets": 8,
    "max_distance": 16,
    "norm_eps": 1e-6,
    "tie_embeddings": True,
    "dropout": 0.0,
}
EOT_ID = 256
TIED = ("encoder.embed_tokens", "decoder.embed_tokens", "lm_head")


def build(**options: Any) -> TextToText:
    torch.manual_seed(1)
    backbone = build_backbone("encoder_decoder", {**OPTIONS, **options}, VOCAB_SIZE, MAX_LENGTH, "test")
    assert isinstance(backbone, EncoderDecoder)
    assert backbone.kind is Kind.encoder_decoder
    return TextToText(backbone)


@pytest.fixture
def network() -> TextToText:
    return randomise(build(), 0.15).eval()


@pytest.fixture
def targets_BT() -> torch.Tensor:
    return torch.randint(VOCAB_SIZE, (3, 11), generator=torch.Generator().manual_seed(9))


def theirs_of(network: TextToText) -> T5ForConditionalGeneration:
    """Hugging Face's T5 with the same weights."""
    config = network.config()
    theirs = T5ForConditionalGeneration(T5Config(**config, decoder_start_token_id=EOT_ID, eos_token_id=EOT_ID)).eval()
    state = {name.removeprefix("model."): weight for name, weight in network.model.state_dict().items()}
    left_out = theirs.load_state_dict(state, strict=False)
    assert not left_out.unexpected_keys
    assert set(left_out.missing_keys) <= {
        "encoder.embed_tokens.weight",
        "decoder.embed_tokens.weight",
        "lm_head.weight",
    }
    if network.lm_head is not None:
        theirs.lm_head.weight = torch.nn.Parameter(network.lm_head.weight.detach().clone())
    return theirs


@pytest.mark.parametrize("tie", [True, False])
def test_logits_are_those_of_t5(tie: bool, tokens_BT: torch.Tensor, targets_BT: torch.Tensor) -> None:
    network = randomise(build(tie_embeddings=tie), 0.15).eval()
    theirs = theirs_of(network)
    lengths_B = torch.tensor([20, 13, 1])
    mask_BS = (torch.arange(20) < lengths_B[:, None]).long()
    with torch.no_grad():
        own = network(tokens_BT, lengths_B, targets_BT)
        expected = theirs(input_ids=tokens_BT, attention_mask=mask_BS, decoder_input_ids=targets_BT).logits
    torch.testing.assert_close(own, expected, rtol=1e-4, atol=2e-5)


def test_buckets_are_those_of_t5() -> None:
    distances = torch.arange(-300, 300)
    from transformers.models.t5.modeling_t5 import T5Attention

    for bidirectional in (True, False):
        theirs = T5Attention._relative_position_bucket(distances, bidirectional, 32, 128)
        torch.testing.assert_close(bucket(distances, 32, 128, bidirectional=bidirectional), theirs)


def test_padding_of_the_source_changes_nothing(
    network: TextToText, tokens_BT: torch.Tensor, targets_BT: torch.Tensor
) -> None:
    lengths = [20, 13, 1]
    with torch.no_grad():
        together = network(tokens_BT, torch.tensor(lengths), targets_BT)
        for row, length in enumerate(lengths):
            alone = network(tokens_BT[row : row + 1, :length], None, targets_BT[row : row + 1])
            torch.testing.assert_close(alone[0], together[row], rtol=1e-4, atol=1e-5)


def test_the_decoder_never_looks_ahead(network: TextToText, tokens_BT: torch.Tensor, targets_BT: torch.Tensor) -> None:
    changed_BT = targets_BT.clone()
    changed_BT[:, 6] = (changed_BT[:, 6] + 1) % VOCAB_SIZE
    with torch.no_grad():
        moved = (network(tokens_BT, None, targets_BT) - network(tokens_BT, None, changed_BT)).abs().amax(dim=-1) > 1e-6
    assert not moved[:, :6].any()
    assert moved[:, 6:].all()


@pytest.mark.parametrize("sizes", [[11], [1] * 11, [4, 1, 6]])
def test_a_cache_changes_nothing(
    sizes: list[int], network: TextToText, tokens_BT: torch.Tensor, targets_BT: torch.Tensor
) -> None:
    lengths_B = torch.tensor([20, 13, 1])
    with torch.no_grad():
        whole = network(tokens_BT, lengths_B, targets_BT)
        cache = network.model.begin(network.model.encode(tokens_BT, lengths_B), lengths_B, 11)
        pieces = [network.head(network.model(piece, None, cache)) for piece in targets_BT.split(sizes, dim=1)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, rtol=1e-4, atol=1e-5)


def test_sequences_leave_a_cache_and_change_places(
    network: TextToText, tokens_BT: torch.Tensor, targets_BT: torch.Tensor
) -> None:
    model, lengths_B = network.model, torch.tensor([20, 13, 1])
    with torch.no_grad():
        whole = network(tokens_BT, lengths_B, targets_BT)
        cache = model.begin(model.encode(tokens_BT, lengths_B), lengths_B, 11)
        model(targets_BT[:, :8], None, cache)
        cache.keep([1, 0])
        assert cache.lengths == [8, 8]
        logits = network.head(model(targets_BT[[1, 0], 8:10], None, cache))
    torch.testing.assert_close(logits[0], whole[1, 8:10], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logits[1], whole[0, 8:10], rtol=1e-4, atol=1e-5)


def test_the_first_loss_is_that_of_a_guess(tokens_BT: torch.Tensor, targets_BT: torch.Tensor) -> None:
    for tie in (True, False):
        loss = build(tie_embeddings=tie, dim=128).loss(tokens_BT, torch.tensor([20, 13, 1]), targets_BT)
        assert abs(loss.item() - math.log(VOCAB_SIZE)) < 0.3


def test_one_batch_is_overfit(tokens_BT: torch.Tensor, targets_BT: torch.Tensor) -> None:
    network = build()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    lengths_B = torch.tensor([20, 13, 1])
    targets_BT[0, 5:] = -1
    for _ in range(150):
        optimizer.zero_grad()
        loss = network.loss(tokens_BT, lengths_B, targets_BT)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


Refusal = Callable[[TextToText], object]


@pytest.mark.parametrize(
    ("ask", "code", "fact"),
    [
        (lambda network: network.begin([[]], 3), "impossible", "empty"),
        (lambda network: network.begin([[1] * 33], 3), "impossible", "33"),
        (lambda network: network.train().begin([[1]], 3), "impossible", "eval()"),
        (lambda network: network.model.new_cache(1), "unsupported", "encoder_decoder"),
        (lambda network: network.model(torch.zeros(1, 1, dtype=torch.long)), "mismatch", "begin()"),
        (lambda network: network.model.encode(torch.zeros(1, 33, dtype=torch.long)), "impossible", "33"),
    ],
)
def test_what_it_refuses(ask: Refusal, code: Code, fact: str, network: TextToText) -> None:
    with refused(ModelError, code, fact):
        ask(network)


@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        ({"dim": 30}, "a multiple of num_heads"),
        ({"num_buckets": 6}, "a multiple of 4"),
        ({"max_distance": 4}, "more than half of num_buckets"),
    ],
)
def test_options_it_refuses(options: dict[str, Any], allowed: str) -> None:
    ((name, value),) = options.items()
    with refused(ConfigError, "impossible", f"model.options.{name} is {value}", allowed):
        build(**options)
