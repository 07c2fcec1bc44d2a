"""What a model prefers, and what it has learned to prefer."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn

from langmill.data.document import Document
from langmill.models.heads import LanguageModel
from langmill.scoring.base import Strength, TrainingData
from langmill.scoring.preferences import PreferencesScorer
from langmill.tasks.preferences import collate, log_likelihoods
from langmill.tokenization.tokenizer import Tokenizer
from tests.unit.tasks.conftest import documents, sentences, tokenizer
from tests.unit.tasks.settings import evaluation, shard, shipped_scorer, tiny_backbone

__all__ = ["documents", "tokenizer"]
pytestmark = pytest.mark.unit
LENGTH = 48
WRITTEN = {"max_new_tokens": 4, "temperature": 0.0, "num_beams": 1, "length_penalty": 1.0, "repetition_penalty": 1.0}


@pytest.fixture(scope="module")
def scorer() -> PreferencesScorer:
    found = shipped_scorer("preferences", length=LENGTH, prompt_length=24, beta=0.5, decoding=WRITTEN)
    assert isinstance(found, PreferencesScorer)
    return found


@pytest.fixture(scope="module")
def pairs() -> list[Document]:
    texts = sentences(27, 12, 4)
    return [
        Document(f"d{number}", *texts[number : number + 1], target=texts[number + 9],
                 metadata={"rejected": texts[number + 18]})
        for number in range(9)
    ]  # fmt: skip


def network_of(scorer: PreferencesScorer, tokenizer: Tokenizer) -> LanguageModel:
    torch.manual_seed(0)
    network = scorer.task.network(tiny_backbone(tokenizer.vocab_size, LENGTH))
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.3)
    assert isinstance(network, LanguageModel)
    return network.eval()


def test_metrics_are_shares_and_means(scorer: PreferencesScorer) -> None:
    scores = pa.table({"id": ["a", "b", "c"], "margin_nats": [1.0, -1.0, 0.0]})
    ones = np.ones((1, 3))
    found = scorer.measure(scores, ones)
    assert found.keys() == {"preference_accuracy", "preference_margin"}
    assert (found["preference_accuracy"][0], found["preference_margin"][0]) == (0.5, 0.0)
    base = pa.table({"margin_nats": [0.0, -3.0, 0.0]})
    found = scorer.measure(scorer.beside_base(scores, base), np.array([[1.0, 1.0, 1.0], [0.0, 2.0, 0.0]]))
    assert found["reward_accuracy"].tolist() == pytest.approx([2.5 / 3, 1.0])
    assert found["reward_margin"].tolist() == pytest.approx([0.5 * (1 + 2 + 0) / 3, 1.0])
    alone = scorer.measure(scorer.beside_base(base, base), ones)  # the base itself has learned nothing
    assert (alone["reward_accuracy"][0], alone["reward_margin"][0]) == (0.5, 0.0)


def test_margins_are_of_both_answers_after_the_same_prompt(
    scorer: PreferencesScorer, tokenizer: Tokenizer, pairs: list[Document]
) -> None:
    network = network_of(scorer, tokenizer)
    few, many = (scorer.score(network, tokenizer, pairs, evaluation(batch_tokens=size)) for size in (64, 16_384))
    assert np.allclose(few["margin_nats"], many["margin_nats"], rtol=1e-6, atol=1e-7)
    candidates = scorer.task.candidates(tokenizer, pairs, LENGTH)
    with torch.no_grad():
        chosen, rejected = log_likelihoods(network, collate(candidates, LENGTH, tokenizer.eot_id)).chunk(2)
    assert np.allclose(many["margin_nats"], chosen - rejected, atol=1e-4)
    assert "bits_per_byte" in scorer.measure(many, np.ones((1, len(pairs))))


def test_a_coin_prefers_nothing(scorer: PreferencesScorer, tokenizer: Tokenizer, pairs: list[Document]) -> None:
    found = [tokenizer.encode(str(document.target)) for document in pairs]
    train = shard(found)
    train.parts = lambda number: [np.array([]), np.array([*found[number], tokenizer.eot_id]), np.array([])]
    data = TrainingData(train, lambda: pairs)
    baselines = scorer.baselines(data, pairs, tokenizer, evaluation(), max_length=LENGTH)
    coin = baselines[0]
    assert (coin.name, coin.strength) == ("coin", Strength.trivial)
    values = scorer.measure(coin.scores, np.ones((1, len(pairs))))
    assert {name: value[0] for name, value in values.items()} == {
        "preference_accuracy": 0.5, "preference_margin": 0.0, "reward_accuracy": 0.5, "reward_margin": 0.0,
    }  # fmt: skip
