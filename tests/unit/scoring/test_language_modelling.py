from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.nn import functional as F

from langmill.errors import ConfigError
from langmill.scoring.base import Strength
from langmill.scoring.language_modelling import POSITION_EDGES, cut_windows
from tests.refused import refused

from ..tasks.settings import evaluation, shard, shipped_scorer, tiny_backbone, training_data

pytestmark = pytest.mark.unit
REACH = 24


@pytest.fixture(scope="module")
def scorer():
    return shipped_scorer("language_modelling")


@pytest.fixture(scope="module")
def network(scorer, tokenizer):
    torch.manual_seed(0)
    network = scorer.task.network(tiny_backbone(tokenizer.vocab_size, REACH)).eval()
    with torch.no_grad():  # strong opinions, so that a wrong context shows
        for weight in network.parameters():
            weight.mul_(8 if weight.dim() > 1 else 1)
    return network


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("length", [1, 23, 24, 25, 48, 49, 200])
def test_windows_score_every_place_once(length, overlap):
    windows = cut_windows(7, length, REACH, overlap)
    assert [place for window in windows for place in range(window.first_scored, window.end)] == list(range(length))
    assert all(len(window) <= REACH and window.start <= window.first_scored for window in windows)
    assert all(len(window) == REACH for window in windows[1:])
    context = [window.first_scored - window.start for window in windows[1:]]
    assert all(size >= int(REACH * overlap) for size in context)


def test_score_is_the_cross_entropy_of_each_document(scorer, network, tokenizer, documents):
    scores = scorer.score(network, tokenizer, documents, evaluation(batch_tokens=64))
    assert scores["id"].to_pylist() == [document.id for document in documents]
    short = [number for number, document in enumerate(documents) if len(tokenizer.encode(document.text)) < REACH]
    assert len(short) >= 5
    for number in short:
        ids = [tokenizer.eot_id, *tokenizer.encode(documents[number].text), tokenizer.eot_id]
        with torch.no_grad():
            logits = network(torch.tensor([ids[:-1]]))[0]
        targets = torch.tensor(ids[1:])
        row = scores.slice(number, 1).to_pylist()[0]
        assert row["nats"] == pytest.approx(float(F.cross_entropy(logits, targets, reduction="sum")), rel=1e-5)
        assert row["tokens"] == len(ids) - 1
        assert row["bytes"] == len(documents[number].text.encode())
        assert row["correct"] == int((logits.argmax(dim=-1) == targets).sum())


def test_a_long_document_is_scored_window_by_window(scorer, network, tokenizer, documents):
    long = max(documents, key=lambda document: len(document.text))
    ids = [tokenizer.eot_id, *tokenizer.encode(long.text), tokenizer.eot_id]
    assert len(ids) > 2 * REACH
    expected = 0.0
    for window in cut_windows(0, len(ids) - 1, REACH, scorer.options.context_overlap):
        with torch.no_grad():
            logits = network(torch.tensor([ids[window.start : window.end]]))[0, window.first_scored - window.start :]
        expected += float(
            F.cross_entropy(logits, torch.tensor(ids[window.first_scored + 1 : window.end + 1]), reduction="sum")
        )
    found = scorer.score(network, tokenizer, [long], evaluation())["nats"][0].as_py()
    assert found == pytest.approx(expected, rel=1e-5)


def test_scores_do_not_depend_on_how_documents_are_batched(scorer, network, tokenizer, documents):
    done: list[int] = []
    all_at_once = scorer.score(network, tokenizer, documents, evaluation(batch_tokens=100_000), done.append)
    one_by_one = scorer.score(network, tokenizer, documents, evaluation(batch_tokens=1))
    assert np.allclose(all_at_once["nats"], one_by_one["nats"], rtol=1e-5)
    for column in ("tokens", "bytes", "correct", "position_tokens"):
        assert all_at_once[column].equals(one_by_one[column])
    assert sum(done) == len(documents)


def test_losses_by_position_add_up(scorer, network, tokenizer, documents):
    scores = scorer.score(network, tokenizer, documents, evaluation())
    assert np.allclose([sum(row) for row in scores["position_nats"].to_pylist()], scores["nats"])
    assert [sum(row) for row in scores["position_tokens"].to_pylist()] == scores["tokens"].to_pylist()
    longest = int(np.argmax(scores["tokens"]))
    assert scores["position_tokens"][longest].as_py()[0] == POSITION_EDGES[1]


def test_measure_by_hand(scorer):
    scores = pa.table({"id": ["a", "b"], "nats": [8.0, 2.0], "tokens": [4, 2], "bytes": [10, 4], "correct": [1, 2]})
    figures = scorer.measure(scores, np.array([[1.0, 1.0], [2.0, 0.0]]))
    assert figures["bits_per_byte"] == pytest.approx([10 / math.log(2) / 14, 16 / math.log(2) / 20])
    assert figures["perplexity"] == pytest.approx([math.exp(10 / 6), math.exp(2)])
    assert figures["next_token_accuracy"] == pytest.approx([3 / 6, 2 / 8])
    assert set(figures) == {metric.name for metric in scorer.metrics}


def test_baselines_score_the_same_tokens_and_the_trigram_is_better(scorer, network, tokenizer, documents):
    train = shard([tokenizer.encode(document.text) for document in documents] * 5)
    assert tokenizer.eot_id == 0
    scores = scorer.score(network, tokenizer, documents, evaluation())
    unigram, trigram = scorer.baselines(training_data(train), documents, tokenizer, evaluation(), max_length=REACH)
    assert [(each.name, each.strength) for each in (unigram, trigram)] == [
        ("unigram", Strength.trivial),
        ("trigram", Strength.strong),
    ]
    for baseline in (unigram, trigram):
        assert baseline.scores["id"].equals(scores["id"])
        assert baseline.scores["tokens"].equals(scores["tokens"])
        assert baseline.scores["bytes"].equals(scores["bytes"])
    ones = np.ones((1, len(documents)))
    assert (
        scorer.measure(trigram.scores, ones)["bits_per_byte"]
        < 0.6 * scorer.measure(unigram.scores, ones)["bits_per_byte"]
    )
    shares = np.bincount(train.tokens) / len(train.tokens)
    counted = np.concatenate([[*tokenizer.encode(document.text), 0] for document in documents])
    assert unigram.scores["nats"].to_numpy().sum() == pytest.approx(-np.log(shares[counted]).sum(), rel=0.02)
    assert sum(unigram.scores["correct"].to_pylist()) == int((counted == shares.argmax()).sum())


def test_plots_hold_every_document(scorer, network, tokenizer, documents):
    scores = scorer.score(network, tokenizer, documents, evaluation())
    by_position, losses = scorer.plots(scores)
    assert by_position.columns["position"][:3] == ["0", "16", "32"]
    first_tokens = sum(row[0] for row in scores["position_tokens"].to_pylist())
    first_nats = sum(row[0] for row in scores["position_nats"].to_pylist())
    assert by_position.columns["bits per token"][0] == pytest.approx(first_nats / first_tokens / math.log(2))
    assert len(losses.columns["bits per byte"]) == len(documents)


def test_impossible_options_are_refused():
    with refused(ConfigError, "impossible", "scoring.options.context_overlap is 1.5", "0 to 0.9"):
        shipped_scorer("language_modelling", context_overlap=1.5)
    with refused(ConfigError, "impossible", "temperature is -1"):
        shipped_scorer("language_modelling", decoding={"temperature": -1.0})
