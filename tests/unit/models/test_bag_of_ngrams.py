"""The bag of n-grams: its hidden states against the sum that they are, padding, order, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from langmill.errors import ConfigError, ModelError
from langmill.models.bag_of_ngrams import BagOfNgrams
from langmill.models.base import build_backbone
from langmill.models.folder import load_state, load_weights, read_config, save_model
from langmill.models.heads import Classifier, LanguageModel
from tests.refused import refused
from tests.unit.models.conftest import MAX_LENGTH, VOCAB_SIZE, randomise

pytestmark = pytest.mark.unit
OPTIONS: dict[str, Any] = {"dim": 6, "max_ngram": 3, "num_buckets": 97}


def build(**options: Any) -> BagOfNgrams:
    torch.manual_seed(1)
    backbone = build_backbone("bag_of_ngrams", {**OPTIONS, **options}, VOCAB_SIZE, MAX_LENGTH, "test")
    assert isinstance(backbone, BagOfNgrams)
    return randomise(backbone, 0.5).eval()


def bucket(tokens: list[int]) -> int:
    """The row of an n-gram, from the definition."""
    found = tokens[0] + 1
    for token in tokens[1:]:
        found = (found * 1_000_003 + token + 1) % (2**31 - 1)
    return found % OPTIONS["num_buckets"]


@pytest.mark.parametrize("length", [1, 2, 3, 9])
def test_a_hidden_state_is_the_sum_of_what_ends_there(length: int) -> None:
    backbone = build()
    tokens_BT = torch.randint(VOCAB_SIZE, (2, length))
    hidden_BTD = backbone(tokens_BT)
    assert backbone.embed_ngrams is not None
    for tokens, hidden_TD in zip(tokens_BT.tolist(), hidden_BTD, strict=True):
        for end, hidden_D in enumerate(hidden_TD, start=1):
            expected_D = backbone.embed_tokens.weight[tokens[end - 1]].clone()
            for n in (2, 3):
                if n <= end:
                    expected_D += backbone.embed_ngrams.weight[bucket(tokens[end - n : end])]
            torch.testing.assert_close(hidden_D, expected_D)


def test_an_ngram_has_the_same_row_on_every_machine() -> None:
    """Saved models depend on these numbers."""
    pairs_BN, triples_BN = build(num_buckets=524288).buckets(torch.tensor([[0, 17, 256, 40]]))
    assert pairs_BN.tolist() == [[475733, 174519, 99692]]
    assert triples_BN.tolist() == [[215313, 309708]]


def test_padding_changes_nothing_and_order_does() -> None:
    classifier = randomise(Classifier(build(), 3, 0.0), 0.5).eval()
    text = torch.randint(VOCAB_SIZE, (1, 7))
    padded = torch.cat([text, torch.randint(VOCAB_SIZE, (1, 5))], dim=1)
    torch.testing.assert_close(classifier(padded, torch.tensor([7])), classifier(text))
    assert not torch.allclose(classifier(text.flip(1)), classifier(text))
    words = randomise(Classifier(build(max_ngram=1), 3, 0.0), 0.5).eval()
    torch.testing.assert_close(words(text.flip(1)), words(text))


def test_round_trip_through_a_folder(tmp_path: Path, tokenizer_file: Path, tokens_BT: torch.Tensor) -> None:
    classifier = Classifier(build(), 2, 0.0).eval()
    save_model(tmp_path / "m", classifier, {"langmill": {"eot_id": 256}}, tokenizer_file, {})
    assert read_config(tmp_path / "m")["model_type"] == "langmill_bag_of_ngrams"
    again = randomise(Classifier(build(), 2, 0.0), 0.9).eval()
    state = load_state(tmp_path / "m")
    load_weights(again, {name: state[stored] for name, stored in again.stored_names().items()}, "m")
    assert torch.equal(again(tokens_BT), classifier(tokens_BT))


def test_what_it_refuses() -> None:
    with refused(ConfigError, "impossible", "max_ngram is 0"):
        build(max_ngram=0)
    with refused(ModelError, "unsupported", "bidirectional"):
        LanguageModel(build()).eval().begin([[1, 2]], 3)
    with refused(ModelError, "unsupported", "no cache"):
        build()(torch.tensor([[1]]), cache=object())
