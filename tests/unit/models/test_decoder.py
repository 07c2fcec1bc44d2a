"""The decoder: what it computes, what it refuses, what it costs."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from langmill.config.compose import compose_recipe
from langmill.errors import ConfigError, ModelError
from langmill.models.base import ARCHITECTURES, build_backbone
from langmill.models.decoder import Decoder
from langmill.models.heads import LanguageModel
from langmill.models.layers.llama import TransformerSettings
from tests.refused import refused
from tests.unit.models.conftest import MAX_LENGTH, OPTIONS, VOCAB_SIZE, MakeModel

pytestmark = pytest.mark.unit


def test_the_shipped_architectures_are_known() -> None:
    names = [
        "bag_of_ngrams",
        "decoder",
        "encoder",
        "encoder_decoder",
        "gru",
        "lstm",
        "naive_bayes_ngrams",
        "pretrained",
        "rnn",
    ]
    assert ARCHITECTURES.names() == names
    assert ARCHITECTURES.find("decoder") is Decoder
    with refused(ConfigError, "unknown", "transformer", "decoder, encoder, encoder_decoder"):
        ARCHITECTURES.find("transformer")


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("dim", [128, 512, 1024])
def test_first_loss_is_that_of_a_uniform_guess(tie: bool, dim: int) -> None:
    torch.manual_seed(0)
    options = {**OPTIONS, "dim": dim, "num_layers": 4, "hidden_dim": 3 * dim, "tie_embeddings": tie}
    vocab_size = 2048
    network = LanguageModel(Decoder(TransformerSettings(**options), vocab_size, 64))
    tokens_BT = torch.randint(vocab_size, (4, 65))
    loss = network.loss(tokens_BT[:, :-1], tokens_BT[:, 1:]).item()
    assert loss == pytest.approx(math.log(vocab_size), abs=0.15)


def test_blocks_start_as_the_identity() -> None:
    torch.manual_seed(0)
    backbone = Decoder(TransformerSettings(**{**OPTIONS, "dim": 256, "hidden_dim": 512}), VOCAB_SIZE, MAX_LENGTH)
    tokens_BT = torch.randint(VOCAB_SIZE, (2, 9))
    assert torch.equal(backbone(tokens_BT), backbone.norm(backbone.embed_tokens(tokens_BT)))
    for weight in (backbone.layers[0].self_attn.q_proj.weight, backbone.layers[1].mlp.up_proj.weight):
        assert weight.std().item() == pytest.approx(1 / 16, rel=0.05)


def test_equal_seeds_give_equal_weights(make_model: MakeModel) -> None:
    for one, other in zip(make_model(seed=3).parameters(), make_model(seed=3).parameters(), strict=True):
        assert torch.equal(one, other)


def test_overfits_one_batch(make_model: MakeModel, tokens_BT: torch.Tensor) -> None:
    torch.use_deterministic_algorithms(True)
    try:
        network = make_model(std=0.02).train()
        optimizer = torch.optim.AdamW(network.parameters(), lr=2e-2, weight_decay=0.0)
        for _ in range(60):
            optimizer.zero_grad()
            loss = network.loss(tokens_BT[:, :-1], tokens_BT[:, 1:])
            loss.backward()
            optimizer.step()
    finally:
        torch.use_deterministic_algorithms(False)
    assert loss.item() < 0.1
    assert torch.equal(network(tokens_BT[:, :-1])[:, 3:].argmax(-1), tokens_BT[:, 4:])


def test_later_tokens_change_nothing_earlier(make_model: MakeModel, tokens_BT: torch.Tensor) -> None:
    network = make_model()
    changed_BT = tokens_BT.clone()
    changed_BT[:, 12] = (changed_BT[:, 12] + 1) % VOCAB_SIZE
    before, after = network(tokens_BT), network(changed_BT)
    assert torch.equal(before[:, :12], after[:, :12])
    assert not torch.equal(before[:, 12], after[:, 12])
    assert not torch.equal(before[:, 13], after[:, 13])


def test_order_of_the_tokens_matters(make_model: MakeModel, tokens_BT: torch.Tensor) -> None:
    swapped_BT = tokens_BT.clone()
    swapped_BT[:, [2, 7]] = tokens_BT[:, [7, 2]]
    network = make_model()
    assert (network(tokens_BT)[:, -1] - network(swapped_BT)[:, -1]).abs().max() > 1e-3


def test_padding_changes_nothing(make_model: MakeModel, tokens_BT: torch.Tensor) -> None:
    network = make_model()
    lengths = [20, 5, 13]
    together_BTV = network(tokens_BT, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        alone_TV = network(tokens_BT[row : row + 1, :length])[0]
        torch.testing.assert_close(together_BTV[row, :length], alone_TV, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("num_kv_heads", [1, 2, 4])
def test_cache_gives_what_the_whole_sequence_gives(
    make_model: MakeModel, tokens_BT: torch.Tensor, num_kv_heads: int
) -> None:
    network = make_model(num_kv_heads=num_kv_heads)
    whole_BTV = network(tokens_BT)
    cache = network.model.new_cache(3)
    pieces = [network(tokens_BT[:, start:end], None, cache) for start, end in [(0, 9), (9, 10), (10, 11), (11, 16)]]
    pieces += [network(tokens_BT[:, place : place + 1], None, cache) for place in range(16, 20)]
    assert cache.length == 20
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole_BTV, rtol=1e-4, atol=1e-4)


def test_cache_of_unequal_sequences(make_model: MakeModel, tokens_BT: torch.Tensor) -> None:
    network = make_model()
    whole_BTV = network(tokens_BT)
    cache = network.model.new_cache(3, capacity=20)
    lengths = [4, 11, 7]
    network(tokens_BT[:, :11], torch.tensor(lengths), cache)
    assert cache.lengths == lengths
    for step in range(5):
        places = [length + step for length in lengths]
        logits_B1V = network(tokens_BT[torch.arange(3), places][:, None], None, cache)
        for row, place in enumerate(places):
            torch.testing.assert_close(logits_B1V[row, 0], whole_BTV[row, place], rtol=1e-4, atol=1e-4)


def test_sequences_leave_a_cache_and_change_places(make_model: MakeModel, tokens_BT: torch.Tensor) -> None:
    network = make_model()
    whole_BTV = network(tokens_BT)
    cache = network.model.new_cache(3, capacity=20)
    network(tokens_BT[:, :8], torch.tensor([5, 8, 3]), cache)
    cache.keep([2, 1])
    assert cache.lengths == [3, 8]
    logits_BTV = network(torch.stack([tokens_BT[2, 3:4], tokens_BT[1, 8:9]]), None, cache)
    torch.testing.assert_close(logits_BTV[0, 0], whole_BTV[2, 3], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logits_BTV[1, 0], whole_BTV[1, 8], rtol=1e-4, atol=1e-4)


def test_too_long_is_refused(make_model: MakeModel) -> None:
    network = make_model()
    too_long_BT = torch.zeros(1, MAX_LENGTH + 1, dtype=torch.long)
    with refused(ModelError, "impossible", "33", "32"):
        network(too_long_BT)
    cache = network.model.new_cache(1, capacity=100)
    network(too_long_BT[:, :MAX_LENGTH], None, cache)
    with refused(ModelError, "impossible", "33", "32"):
        network(too_long_BT[:, :1], None, cache)
    with refused(ModelError, "mismatch", "2 sequences"):
        network(torch.zeros(2, 1, dtype=torch.long), None, cache)


def test_dropout_works_in_training_only(make_model: MakeModel, tokens_BT: torch.Tensor) -> None:
    network, without = make_model(dropout=0.5), make_model(dropout=0.0)
    assert torch.equal(network(tokens_BT), without(tokens_BT))
    network.train()
    assert not torch.equal(network(tokens_BT), network(tokens_BT))


@pytest.mark.parametrize("num_kv_heads", [1, 4])
@pytest.mark.parametrize("length", [8, 32])
def test_flops_are_those_that_torch_counts(make_model: MakeModel, num_kv_heads: int, length: int) -> None:
    network = make_model(num_kv_heads=num_kv_heads)
    # The counter does not know the processor's fused attention, only the products it consists of.
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        network(torch.zeros(2, length, dtype=torch.long))
    assert counter.get_total_flops() == network.flops_per_token(length) * 2 * length


def test_made_on_meta_and_filled_later(make_model: MakeModel, tokens_BT: torch.Tensor) -> None:
    expected = make_model()
    with torch.device("meta"):
        network = LanguageModel(Decoder(TransformerSettings(**OPTIONS), VOCAB_SIZE, MAX_LENGTH))
    assert next(network.parameters()).is_meta
    network.to_empty(device="cpu")
    network.model.initialise()
    network.load_state_dict(expected.state_dict())
    assert torch.equal(network.eval()(tokens_BT), expected(tokens_BT))


def test_bf16_weights_keep_exact_positions(make_model: MakeModel, tokens_BT: torch.Tensor) -> None:
    network = make_model(std=0.1)
    expected = network(tokens_BT)
    logits_BTV = network.bfloat16()(tokens_BT)
    assert network.model.cos_SE.dtype == torch.float32
    assert torch.equal(network.model.cos_SE, make_model().model.cos_SE)
    assert logits_BTV.dtype == torch.bfloat16
    assert (logits_BTV.float() - expected).abs().max() < 0.1 * expected.std()
    cache = network.model.new_cache(3)
    pieces = [network(tokens_BT[:, :9], None, cache), network(tokens_BT[:, 9:10], None, cache)]
    assert (torch.cat(pieces, dim=1).float() - expected[:, :10]).abs().max() < 0.1 * expected.std()
    network.train().loss(tokens_BT[:, :-1], tokens_BT[:, 1:]).backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in network.parameters())


@pytest.mark.slow
def test_compiles_as_one_graph_to_the_same_numbers(make_model: MakeModel, tokens_BT: torch.Tensor) -> None:
    network = make_model()
    compiled = torch.compile(network.loss, fullgraph=True, backend="aot_eager")
    weights = list(network.parameters())
    results = []
    for loss_of in (network.loss, compiled):
        loss = loss_of(tokens_BT[:, :-1], tokens_BT[:, 1:])
        results.append((loss.detach(), *torch.autograd.grad(loss, weights)))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "allowed"),
    [
        ({"dim": 0}, "1 or more"),
        ({"num_layers": 0}, "1 or more"),
        ({"num_heads": 0}, "1 or more"),
        ({"num_kv_heads": 0}, "1 or more"),
        ({"hidden_dim": -1}, "1 or more"),
        ({"dim": 30}, "a multiple of num_heads (4)"),
        ({"dim": 12}, "an even multiple of num_heads (4)"),
        ({"num_kv_heads": 3}, "a divisor of num_heads (4)"),
        ({"num_kv_heads": 8}, "a divisor of num_heads (4)"),
        ({"rope_theta": 1.0}, "above 1"),
        ({"rope_theta": math.inf}, ""),
        ({"norm_eps": 0.0}, "above 0 and below 1"),
        ({"norm_eps": 1.0}, "above 0 and below 1"),
        ({"dropout": 1.0}, "0 to below 1"),
        ({"dropout": -0.1}, "0 to below 1"),
    ],
)
def test_impossible_options_are_refused(change: dict[str, float], allowed: str) -> None:
    ((name, value),) = change.items()
    with refused(ConfigError, "impossible", "conf/model/x.yaml", f"{name} is ", str(value), allowed):
        build_backbone("decoder", {**OPTIONS, **change}, VOCAB_SIZE, MAX_LENGTH, "conf/model/x.yaml")


def test_an_unknown_option_is_refused() -> None:
    with refused(ConfigError, "unknown", "conf/model/x.yaml", "width"):
        build_backbone("decoder", {**OPTIONS, "width": 32}, VOCAB_SIZE, MAX_LENGTH, "conf/model/x.yaml")


def test_shipped_options_are_taken() -> None:
    model = compose_recipe("reviews-lm").model
    backbone = build_backbone(model.architecture, model.options, 4096, 256, "conf/model")
    assert backbone.dim == 128
    assert backbone.tie_embeddings
