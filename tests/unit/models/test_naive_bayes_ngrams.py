"""The bag of n-grams weighed by naive Bayes: its ratios and hidden states against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from langmill.errors import ModelError
from langmill.models.base import build_backbone
from langmill.models.heads import Classifier
from langmill.models.naive_bayes_ngrams import NaiveBayesNgrams
from tests.refused import refused
from tests.unit.models.conftest import MAX_LENGTH, VOCAB_SIZE, randomise

pytestmark = pytest.mark.unit
BUCKETS = 4093
TEXTS = [[1, 2, 1, 2, 1], [1, 3], [2, 3, 3], [4], [1, 2, 5]]
LABELS = [0, 0, 1, 1, 2]


def build(max_ngram: int = 3) -> NaiveBayesNgrams:
    options = {"dim": 5, "max_ngram": max_ngram, "num_buckets": BUCKETS}
    torch.manual_seed(1)
    backbone = build_backbone("naive_bayes_ngrams", options, VOCAB_SIZE, MAX_LENGTH, "test")
    assert isinstance(backbone, NaiveBayesNgrams)
    return randomise(backbone, 0.5).eval()


def row(tokens: list[int]) -> int:
    """The place of a token or an n-gram among all rows, from the definition."""
    if len(tokens) == 1:
        return tokens[0]
    found = tokens[0] + 1
    for token in tokens[1:]:
        found = (found * 1_000_003 + token + 1) % (2**31 - 1)
    return VOCAB_SIZE + found % BUCKETS


def rows(tokens: list[int], max_ngram: int = 3) -> set[int]:
    return {row(tokens[at : at + n]) for n in range(1, max_ngram + 1) for at in range(len(tokens) - n + 1)}


def observed(max_ngram: int = 3) -> NaiveBayesNgrams:
    backbone = build(max_ngram)
    backbone.observe_labels([np.array(text, dtype=np.uint16) for text in TEXTS], np.array(LABELS))
    return backbone


def test_ratios_are_those_of_the_paper() -> None:
    backbone = observed()
    size = VOCAB_SIZE + BUCKETS
    expected = np.zeros(size)
    for label in set(LABELS):
        own, others = np.ones(size), np.ones(size)
        for text, theirs in zip(TEXTS, LABELS, strict=True):
            (own if theirs == label else others)[list(rows(text))] += 1
        expected = np.maximum(expected, np.abs(np.log(own / own.sum()) - np.log(others / others.sum())))
    ratios = torch.cat([backbone.token_ratios, backbone.ngram_ratios]).double().numpy()
    np.testing.assert_allclose(ratios, expected, rtol=1e-5, atol=1e-6)
    # By hand: token 1 is in both texts of label 0 and in one of the three others.
    sizes = [
        sum(len(rows(text)) for text, label in zip(TEXTS, LABELS, strict=True) if (label == 0) is own)
        for own in (True, False)
    ]
    by_hand = math.log(3 / (sizes[0] + size)) - math.log(2 / (sizes[1] + size))
    assert backbone.token_ratios[1].item() >= abs(by_hand) - 1e-6


@pytest.mark.parametrize("max_ngram", [1, 2, 3])
@pytest.mark.parametrize("tokens", [[7], [7, 7], [0, 0, 0], [1, 2, 1, 2, 1, 2, 3]])
def test_the_mean_is_the_sum_over_what_a_text_has_once_or_more(tokens: list[int], max_ngram: int) -> None:
    backbone = observed(max_ngram)
    tables = [backbone.embed_tokens.weight * backbone.token_ratios[:, None]]
    if backbone.embed_ngrams is not None:
        tables.append(backbone.embed_ngrams.weight * backbone.ngram_ratios[:, None])
    expected_D = torch.cat(tables)[sorted(rows(tokens, max_ngram))].sum(0)
    torch.testing.assert_close(backbone(torch.tensor([tokens]))[0].mean(0), expected_D)


def test_padding_changes_nothing_and_saying_it_twice_does_not_either() -> None:
    classifier = randomise(Classifier(observed(), 3, 0.0), 0.5).eval()
    text = torch.randint(VOCAB_SIZE, (1, 7))
    padded = torch.cat([text, torch.randint(VOCAB_SIZE, (1, 5))], dim=1)
    torch.testing.assert_close(classifier(padded, torch.tensor([7])), classifier(text))
    words = randomise(Classifier(observed(1), 3, 0.0), 0.5).eval()
    torch.testing.assert_close(words(text.repeat(1, 3)), words(text))
    assert not torch.allclose(classifier(text.flip(1)), classifier(text))


def test_ratios_are_not_learned_but_saved() -> None:
    backbone = observed()
    assert not {"token_ratios", "ngram_ratios"} & dict(backbone.named_parameters()).keys()
    again = build()
    again.load_state_dict(backbone.state_dict())
    assert torch.equal(again.ngram_ratios, backbone.ngram_ratios)


def test_a_cache_is_refused() -> None:
    with refused(ModelError, "unsupported", "no cache"):
        build()(torch.tensor([[1]]), cache=object())
