"""The bidirectional encoder: equal to Hugging Face's of the same shape, and indifferent to padding."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from transformers import EuroBertForMaskedLM

from langmill.errors import ModelError
from langmill.models.base import Kind, build_backbone
from langmill.models.folder import save_model
from langmill.models.heads import Classifier, LanguageModel
from tests.refused import refused
from tests.unit.models.conftest import EOT_ID, MAX_LENGTH, OPTIONS, VOCAB_SIZE, randomise

pytestmark = pytest.mark.unit


def build(**options: object) -> LanguageModel:
    torch.manual_seed(1)
    backbone = build_backbone("encoder", {**OPTIONS, **options}, VOCAB_SIZE, MAX_LENGTH, "test")
    assert backbone.kind is Kind.bidirectional
    return LanguageModel(backbone)


@pytest.mark.parametrize("tie", [True, False])
def test_a_saved_encoder_opens_in_transformers_with_equal_logits(
    tie: bool, tmp_path: Path, tokenizer_file: Path, tokens_BT: torch.Tensor
) -> None:
    network = randomise(build(tie_embeddings=tie), 0.15).eval()
    save_model(tmp_path / "model", network, {"langmill": {"eot_id": EOT_ID}}, tokenizer_file, {})
    theirs = EuroBertForMaskedLM.from_pretrained(tmp_path / "model").eval()
    lengths_B = torch.tensor([20, 13, 1])
    mask_BT = (torch.arange(20) < lengths_B[:, None]).long()
    with torch.no_grad():
        torch.testing.assert_close(network(tokens_BT), theirs(tokens_BT).logits, rtol=1e-4, atol=1e-5)
        own, expected = network(tokens_BT, lengths_B), theirs(tokens_BT, attention_mask=mask_BT).logits
        for row, length in enumerate(lengths_B):
            torch.testing.assert_close(own[row, :length], expected[row, :length], rtol=1e-4, atol=1e-5)


def test_padding_changes_nothing(tokens_BT: torch.Tensor) -> None:
    network = randomise(build(), 0.15).eval()
    classifier = randomise(Classifier(network.model, 3, dropout=0.0), 0.15).eval()
    lengths = [20, 13, 1]
    with torch.no_grad():
        together = network(tokens_BT, torch.tensor(lengths))
        labels = classifier(tokens_BT, torch.tensor(lengths))
        for row, length in enumerate(lengths):
            alone = tokens_BT[row : row + 1, :length]
            torch.testing.assert_close(network(alone)[0], together[row, :length], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(classifier(alone)[0], labels[row], rtol=1e-4, atol=1e-5)


def test_every_token_looks_both_ways(tokens_BT: torch.Tensor) -> None:
    network = randomise(build(), 0.15).eval()
    changed_BT = tokens_BT.clone()
    changed_BT[:, 10] = (changed_BT[:, 10] + 1) % VOCAB_SIZE
    with torch.no_grad():
        moved = (network(tokens_BT) - network(changed_BT)).abs().amax(dim=-1) > 1e-6
    assert moved.all()


def test_the_first_loss_is_that_of_a_guess(tokens_BT: torch.Tensor) -> None:
    targets_BT = torch.randint(VOCAB_SIZE, tokens_BT.shape, generator=torch.Generator().manual_seed(3))
    assert abs(build().loss(tokens_BT, targets_BT).item() - math.log(VOCAB_SIZE)) < 0.1


def test_one_batch_is_overfit(tokens_BT: torch.Tensor) -> None:
    network = build()
    targets_BT = torch.randint(VOCAB_SIZE, tokens_BT.shape, generator=torch.Generator().manual_seed(3))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for _ in range(120):
        optimizer.zero_grad()
        loss = network.loss(tokens_BT, targets_BT)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


def test_what_it_refuses() -> None:
    network = build().eval()
    with refused(ModelError, "impossible", "33", "32"):
        network(torch.zeros(1, MAX_LENGTH + 1, dtype=torch.long))
    with refused(ModelError, "unsupported", "bidirectional"):
        network.model.new_cache(1)
