"""The heads: a language model's loss, a classifier's pooling, and training both deterministically."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional as F

from langmill.models.decoder import Decoder
from langmill.models.heads import Classifier, LanguageModel
from langmill.models.layers import columns
from langmill.models.layers.llama import TransformerSettings
from tests.unit.models.conftest import MAX_LENGTH, OPTIONS, VOCAB_SIZE, MakeModel, randomise

pytestmark = pytest.mark.unit


def make_classifier(num_labels: int = 3, dropout: float = 0.0) -> Classifier:
    torch.manual_seed(0)
    network = Classifier(Decoder(TransformerSettings(**OPTIONS), VOCAB_SIZE, MAX_LENGTH), num_labels, dropout)
    return randomise(network, 0.15).eval()


@pytest.mark.parametrize("tie", [True, False])
def test_loss_is_the_cross_entropy_of_the_logits(make_model: MakeModel, tokens_BT: torch.Tensor, tie: bool) -> None:
    network = make_model(tie=tie)
    inputs_BT, targets_BT = tokens_BT[:, :-1], tokens_BT[:, 1:].clone()
    targets_BT[1, 4:] = -100
    logits_BTV = network(inputs_BT)
    expected = F.cross_entropy(logits_BTV.flatten(0, 1), targets_BT.flatten(), ignore_index=-100)
    expected_grads = torch.autograd.grad(expected, list(network.parameters()))
    loss = network.loss(inputs_BT, targets_BT)
    torch.testing.assert_close(loss, expected)
    for grad, other in zip(torch.autograd.grad(loss, list(network.parameters())), expected_grads, strict=True):
        torch.testing.assert_close(grad, other, rtol=1e-3, atol=1e-6)


def test_names_are_those_of_hugging_face(make_model: MakeModel) -> None:
    tied, untied = make_model(tie=True), make_model(tie=False)
    assert set(untied.state_dict()) - set(tied.state_dict()) == {"lm_head.weight"}
    block = "input_layernorm mlp.down_proj mlp.gate_proj mlp.up_proj post_attention_layernorm self_attn.k_proj"
    block += " self_attn.o_proj self_attn.q_proj self_attn.v_proj"
    blocks = {f"model.layers.{number}.{name}.weight" for number in range(2) for name in block.split()}
    assert set(tied.state_dict()) == blocks | {"model.embed_tokens.weight", "model.norm.weight"}


def test_the_head_of_single_tokens_follows_its_weights(make_model: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    network = make_model(tie=True).eval()
    names = set(network.state_dict())

    def next_logits(network: LanguageModel = network) -> torch.Tensor:
        cache, (ids,) = network.begin([[3, 1, 4]], 1)
        return network.read([ids], cache)[0]

    def expected() -> torch.Tensor:
        with torch.no_grad():
            return network(torch.tensor([[3, 1, 4]]))[0, -1]

    torch.testing.assert_close(next_logits(), expected())
    with torch.no_grad():
        network.head_weight_VD.mul_(3)
    torch.testing.assert_close(next_logits(), expected())
    other = make_model(tie=True).eval()
    torch.nn.init.normal_(other.head_weight_VD)
    network.load_state_dict(other.state_dict())
    torch.testing.assert_close(next_logits(), expected())
    torch.testing.assert_close(next_logits(copy.deepcopy(network).double()).float(), expected())
    monkeypatch.setattr(columns, "_SMALL_MATRIX", 0)
    torch.testing.assert_close(next_logits(), expected())
    assert set(network.state_dict()) == names


def test_classifier_ignores_padding(tokens_BT: torch.Tensor) -> None:
    network = make_classifier()
    lengths = [20, 5, 13]
    together_BK = network(tokens_BT, torch.tensor(lengths))
    assert together_BK.shape == (3, 3)
    for row, length in enumerate(lengths):
        torch.testing.assert_close(
            together_BK[row], network(tokens_BT[row : row + 1, :length])[0], rtol=1e-5, atol=1e-6
        )
    otherwise_padded_BT = tokens_BT.clone()
    otherwise_padded_BT[1, 5:] = 0
    assert torch.equal(network(otherwise_padded_BT, torch.tensor(lengths)), together_BK)


def test_classifier_reads_every_token(tokens_BT: torch.Tensor) -> None:
    network = make_classifier()
    for place in (0, 10, 19):
        changed_BT = tokens_BT.clone()
        changed_BT[:, place] = (changed_BT[:, place] + 1) % VOCAB_SIZE
        assert (network(changed_BT) - network(tokens_BT)).abs().min() > 0


def test_classifier_starts_undecided(tokens_BT: torch.Tensor) -> None:
    torch.manual_seed(0)
    network = Classifier(Decoder(TransformerSettings(**OPTIONS), VOCAB_SIZE, MAX_LENGTH), 3, 0.0)
    torch.testing.assert_close(network(tokens_BT).softmax(-1), torch.full((3, 3), 1 / 3), rtol=0, atol=0.05)


def test_classifier_drops_in_training_only(tokens_BT: torch.Tensor) -> None:
    network = make_classifier(dropout=0.5)
    assert torch.equal(network(tokens_BT), make_classifier()(tokens_BT))
    network.train()
    assert not torch.equal(network(tokens_BT), network(tokens_BT))


@pytest.mark.parametrize("kind", ["language_model", "classifier"])
def test_training_twice_gives_equal_bits(kind: str, tokens_BT: torch.Tensor) -> None:
    def trained() -> list[torch.Tensor]:
        torch.manual_seed(5)
        backbone = Decoder(TransformerSettings(**{**OPTIONS, "dropout": 0.1}), VOCAB_SIZE, MAX_LENGTH)
        network = LanguageModel(backbone) if kind == "language_model" else Classifier(backbone, 3, 0.1)
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, fused=True)
        for _ in range(5):
            optimizer.zero_grad()
            if isinstance(network, LanguageModel):
                loss = network.loss(tokens_BT[:, :-1], tokens_BT[:, 1:])
            else:
                loss = F.cross_entropy(network(tokens_BT, torch.tensor([20, 5, 13])), torch.tensor([0, 1, 2]))
            loss.backward()
            optimizer.step()
        return list(network.parameters())

    torch.use_deterministic_algorithms(True)
    try:
        runs = trained(), trained()
    finally:
        torch.use_deterministic_algorithms(False)
    for one, other in zip(*runs, strict=True):
        assert torch.equal(one, other)
