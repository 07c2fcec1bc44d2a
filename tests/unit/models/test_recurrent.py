"""The recurrent architectures: against their equations, with padding and carried states, and what they refuse."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from langmill.errors import Code, ConfigError, ModelError
from langmill.models.base import build_backbone
from langmill.models.folder import load_state, load_weights, read_config, save_model
from langmill.models.generation.config import Sampling
from langmill.models.generation.generate import generate, generate_batch
from langmill.models.heads import Classifier, LanguageModel
from langmill.models.recurrent import Recurrent
from tests.refused import refused
from tests.unit.models.conftest import MAX_LENGTH, VOCAB_SIZE, randomise

pytestmark = pytest.mark.unit
ARCHITECTURES = ["rnn", "lstm", "gru"]
OPTIONS: dict[str, Any] = {"embedding_dim": 16, "dim": 24, "num_layers": 2, "tie_embeddings": False, "dropout": 0.0}


def build(name: str, **options: Any) -> Recurrent:
    backbone = build_backbone(name, {**OPTIONS, **options}, VOCAB_SIZE, MAX_LENGTH, "test")
    assert isinstance(backbone, Recurrent)
    return backbone


@pytest.fixture(params=ARCHITECTURES)
def network(request: pytest.FixtureRequest) -> LanguageModel:
    torch.manual_seed(1)
    return randomise(LanguageModel(build(request.param)), 0.3).eval()


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def rnn_step(x: np.ndarray, states: list[np.ndarray], W: Any, U: Any, b: Any, c: Any) -> list[np.ndarray]:
    return [np.tanh(W @ x + b + U @ states[0] + c)]


def lstm_step(x: np.ndarray, states: list[np.ndarray], W: Any, U: Any, b: Any, c: Any) -> list[np.ndarray]:
    hidden, cell = states
    i, f, g, o = np.split(W @ x + b + U @ hidden + c, 4)
    cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
    return [sigmoid(o) * np.tanh(cell), cell]


def gru_step(x: np.ndarray, states: list[np.ndarray], W: Any, U: Any, b: Any, c: Any) -> list[np.ndarray]:
    (hidden,) = states
    (xr, xz, xn), (hr, hz, hn) = np.split(W @ x + b, 3), np.split(U @ hidden + c, 3)
    r, z = sigmoid(xr + hr), sigmoid(xz + hz)
    n = np.tanh(xn + r * hn)
    return [(1 - z) * n + z * hidden]


@pytest.mark.parametrize(
    ("name", "step", "num_states"), [("rnn", rnn_step, 1), ("lstm", lstm_step, 2), ("gru", gru_step, 1)]
)
def test_states_are_those_of_the_equations(name: str, step: Any, num_states: int) -> None:
    torch.manual_seed(2)
    backbone = randomise(build(name), 0.4).eval()
    weights = {key: value.detach().double().numpy() for key, value in backbone.named_parameters()}
    tokens_BT = torch.randint(VOCAB_SIZE, (2, 9))
    for tokens, told in zip(tokens_BT.numpy(), backbone(tokens_BT).detach().numpy(), strict=True):
        inputs = list(weights["embed_tokens.weight"][tokens])
        for layer in range(OPTIONS["num_layers"]):
            W, U, b, c = (
                weights[f"layers.{kind}_l{layer}"] for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            states = [np.zeros(OPTIONS["dim"])] * num_states
            outputs = []
            for x in inputs:
                states = step(x, states, W, U, b, c)
                outputs.append(states[0])
            inputs = outputs
        np.testing.assert_allclose(told, np.stack(inputs), atol=2e-6)


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_first_loss_is_that_of_a_uniform_guess(name: str, tie: bool) -> None:
    torch.manual_seed(0)
    options = {**OPTIONS, "embedding_dim": 256, "dim": 256, "tie_embeddings": tie}
    network = LanguageModel(build_backbone(name, options, 2048, 64, "test"))
    tokens_BT = torch.randint(2048, (4, 65))
    loss = network.loss(tokens_BT[:, :-1], tokens_BT[:, 1:]).item()
    assert loss == pytest.approx(math.log(2048), abs=0.15)


def test_first_weights_keep_a_state() -> None:
    torch.manual_seed(0)
    for name in ARCHITECTURES:
        backbone = build(name)
        for gate_DD in backbone.layers.weight_hh_l1.chunk(backbone.num_gates):
            torch.testing.assert_close(gate_DD @ gate_DD.T, torch.eye(OPTIONS["dim"]), atol=1e-5, rtol=0)
    bias = build("lstm").layers.bias_ih_l0
    assert bias.unflatten(0, (4, -1)).mean(dim=1).tolist() == [0.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_overfits_one_batch(name: str, tokens_BT: torch.Tensor) -> None:
    torch.manual_seed(0)
    network = LanguageModel(build(name, embedding_dim=48, dim=48))
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-2, weight_decay=0.0)
    for _ in range(150):
        optimizer.zero_grad()
        loss = network.loss(tokens_BT[:, :-1], tokens_BT[:, 1:])
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


def test_later_tokens_change_nothing_earlier(network: LanguageModel, tokens_BT: torch.Tensor) -> None:
    changed_BT = tokens_BT.clone()
    changed_BT[:, 12] = (changed_BT[:, 12] + 1) % VOCAB_SIZE
    before, after = network(tokens_BT), network(changed_BT)
    assert torch.equal(before[:, :12], after[:, :12])
    for later in (12, 13, 19):
        assert not torch.equal(before[:, later], after[:, later])


def test_padding_changes_nothing(network: LanguageModel, tokens_BT: torch.Tensor) -> None:
    alone = network(tokens_BT[:1, :7])
    for lengths_B in (None, torch.tensor([7, 20, 13])):
        torch.testing.assert_close(network(tokens_BT, lengths_B)[:1, :7], alone, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("cuts", [[1] * 20, [7, 1, 12]])
def test_cache_gives_what_the_whole_sequence_gives(
    network: LanguageModel, tokens_BT: torch.Tensor, cuts: list[int]
) -> None:
    cache = network.model.new_cache(3)
    pieces = [network(piece, None, cache) for piece in tokens_BT.split(cuts, dim=1)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), network(tokens_BT), atol=1e-6, rtol=1e-5)
    assert cache.lengths == [20, 20, 20]


def test_cache_of_unequal_sequences(network: LanguageModel, tokens_BT: torch.Tensor) -> None:
    cache = network.model.new_cache(3)
    lengths_B = torch.tensor([5, 9, 2])
    network(tokens_BT[:, :9], lengths_B, cache)
    assert (cache.lengths, cache.length) == ([5, 9, 2], 9)
    following_B1 = tokens_BT.gather(1, lengths_B[:, None])
    told = network(following_B1, None, cache)
    for row, length in enumerate(lengths_B.tolist()):
        whole = network(tokens_BT[row : row + 1, : length + 1])[:, -1]
        torch.testing.assert_close(told[row], whole, atol=1e-6, rtol=1e-5)


def test_sequences_leave_a_cache_and_change_places(network: LanguageModel, tokens_BT: torch.Tensor) -> None:
    cache = network.model.new_cache(3)
    network(tokens_BT[:, :6], torch.tensor([2, 6, 4]), cache)
    cache.keep([2, 1])
    assert cache.lengths == [4, 6]
    told = network(torch.stack([tokens_BT[2, 4:5], tokens_BT[1, 6:7]]), None, cache)
    for row, (number, length) in enumerate([(2, 5), (1, 7)]):
        whole = network(tokens_BT[number : number + 1, :length])[:, -1]
        torch.testing.assert_close(told[row], whole, atol=1e-6, rtol=1e-5)


def test_caches_for_others_are_refused(network: LanguageModel, tokens_BT: torch.Tensor) -> None:
    with refused(ModelError, "mismatch", "3 sequences"):
        network(tokens_BT, None, network.model.new_cache(2))


def test_generates_from_the_carried_state_alone_and_in_a_batch(network: LanguageModel) -> None:
    greedy = Sampling(8)
    prompts = [[1, 2, 3], [4], [5, 6]]
    for prompt, together in zip(prompts, generate_batch(network, prompts, [greedy] * 3), strict=True):
        alone = list(generate(network, prompt, greedy))
        assert alone == together
        ids = list(prompt)
        for token in alone:
            assert int(network(torch.tensor([ids]))[0, -1].argmax()) == token
            ids.append(token)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_classifies_whatever_is_padded(name: str, tokens_BT: torch.Tensor) -> None:
    torch.manual_seed(3)
    network = randomise(Classifier(build(name), 2, 0.0), 0.3).eval()
    together = network(tokens_BT, torch.tensor([6, 20, 11]))
    torch.testing.assert_close(together[0], network(tokens_BT[:1, :6])[0], atol=1e-6, rtol=1e-5)
    assert not torch.allclose(together[0], network(tokens_BT[:1])[0])


def test_dropout_works_in_training_only(tokens_BT: torch.Tensor) -> None:
    backbone = build("gru", dropout=0.5)
    assert not torch.equal(backbone(tokens_BT), backbone(tokens_BT))
    backbone.eval()
    assert torch.equal(backbone(tokens_BT), backbone(tokens_BT))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_made_on_meta_and_filled_later(name: str, tokens_BT: torch.Tensor) -> None:
    with torch.device("meta"):
        backbone = build(name)
    backbone.to_empty(device="cpu")
    direct = build(name)
    for each in (backbone, direct):
        torch.manual_seed(4)
        each.initialise()
    assert torch.equal(backbone.eval()(tokens_BT), direct.eval()(tokens_BT))


@pytest.mark.parametrize(
    ("change", "code", "facts"),
    [
        ({"dim": 0}, "impossible", ["model.options.dim is 0", "1 or more"]),
        ({"dropout": 1.0}, "impossible", ["model.options.dropout is 1.0", "0 to below 1"]),
        ({"tie_embeddings": True}, "impossible", ["tie_embeddings", "embedding_dim (16)", "dim (24)"]),
        ({"num_heads": 2}, "unknown", ["num_heads"]),
    ],
)
def test_impossible_options_are_refused(change: dict[str, Any], code: Code, facts: list[str]) -> None:
    with refused(ConfigError, code, *facts):
        build("gru", **change)


def test_flops_count_every_product() -> None:
    assert build("lstm").flops_per_token(1) == 2 * 4 * 24 * (16 + 24 + 24 + 24)


def test_round_trip_through_a_folder(network: LanguageModel, tmp_path: Path, tokenizer_file: Path) -> None:
    save_model(tmp_path / "m", network, {"langmill": {"eot_id": 256}}, tokenizer_file, {})
    config = read_config(tmp_path / "m")
    assert config["model_type"] == f"langmill_{network.model.name}"
    assert config["architectures"] == ["LangmillLanguageModel"]
    again = LanguageModel(build(network.model.name)).eval()
    load_weights(again, load_state(tmp_path / "m"), "m")
    tokens_BT = torch.tensor([[1, 2, 3]])
    assert torch.equal(again(tokens_BT), network(tokens_BT))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_dropout_between_layers_is_that_of_torchs_own_stack(name: str) -> None:
    network = build(name, embedding_dim=24, num_layers=3, dropout=0.4).train()
    tokens_BT = torch.randint(VOCAB_SIZE, (3, 11))
    torch.manual_seed(5)
    found = network(tokens_BT)
    torch.manual_seed(5)
    expected = network.dropout(network.layers(network.dropout(network.embed_tokens(tokens_BT)))[0])
    assert torch.equal(found, expected)
