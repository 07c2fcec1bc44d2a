from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from langmill.data.ngram import NgramModel, fit_ngram
from langmill.errors import DataError
from tests.refused import refused

pytestmark = pytest.mark.unit


def random_stream(vocab_size: int, length: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    tokens = random.choice(vocab_size, length, p=random.dirichlet(np.ones(vocab_size)))
    tokens[-1] = 0
    return tokens


def after(model: NgramModel, context: tuple[int, ...]) -> np.ndarray:
    """The probability of every token after a context, read as the middle of a document."""
    streams = [np.array([*context, token], dtype=np.int64) for token in range(model.vocab_size)]
    return np.exp([-model.nats(stream)[-1] for stream in streams])


@pytest.mark.parametrize(
    ("vocab_size", "order", "length"), [(5, 3, 400), (7, 3, 60), (4, 2, 50), (3, 1, 40), (5, 3, 1)]
)
def test_probabilities_sum_to_one_in_every_context(vocab_size, order, length):
    model = fit_ngram(random_stream(vocab_size, length), vocab_size, 0, order)
    for context in itertools.product(range(vocab_size), repeat=order - 1):
        distribution = after(model, context)
        assert distribution.min() > 0
        assert distribution.sum() == pytest.approx(1, abs=1e-12)


def test_trigram_is_the_one_of_the_paper():
    """Chen and Goodman (1999), written down with dictionaries."""
    vocab_size, tokens = 6, random_stream(6, 500)
    trigrams: Counter[tuple[int, ...]] = Counter()
    context = (0, 0)
    for token in map(int, tokens):
        trigrams[*context, token] += 1
        context = (0, 0) if token == 0 else (context[1], token)
    bigrams = Counter(ngram[1:] for ngram in trigrams)
    unigrams = Counter(ngram[1:] for ngram in bigrams)

    def discounts(counts: Counter[tuple[int, ...]]) -> list[float]:
        n = [sum(count == wanted for count in counts.values()) for wanted in range(5)]
        y = n[1] / (n[1] + 2 * n[2]) if n[1] and n[2] else None
        result = []
        for k in (1, 2, 3):
            estimate = k - (k + 1) * y * n[k + 1] / n[k] if y and n[k] and n[k + 1] else 0.0
            result.append(estimate if 0 < estimate < k else k / 2)
        return result

    def level(counts: Counter[tuple[int, ...]], context: tuple[int, ...], token: int, lower: float) -> float:
        off = [0.0, *discounts(counts)]
        row = {ngram[-1]: count for ngram, count in counts.items() if ngram[:-1] == context}
        if not row:
            return lower
        total = sum(row.values())
        count = row.get(token, 0)
        left = sum(off[min(count, 3)] for count in row.values())
        return (count - off[min(count, 3)]) / total + left / total * lower

    model = fit_ngram(tokens, vocab_size, 0, 3)
    for a, b, token in itertools.product(range(vocab_size), repeat=3):
        unigram = level(unigrams, (), token, 1 / vocab_size)
        expected = level(trigrams, (a, b), token, level(bigrams, (b,), token, unigram)) if b else None
        if b and a:  # an end-of-text token in the middle would start a new document
            assert after(model, (a, b))[token] == pytest.approx(expected, abs=1e-12)


def test_context_does_not_reach_into_the_document_before():
    model = fit_ngram(random_stream(6, 500), 6, 0, 3)
    alone = model.nats(np.array([3, 4, 0]))
    after_another = model.nats(np.array([5, 1, 2, 0, 3, 4, 0]))
    assert after_another[4:] == pytest.approx(alone, abs=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_most_likely_is_the_argmax_of_the_distribution(order):
    tokens = random_stream(9, 300, seed=3)
    model = fit_ngram(tokens, 9, 0, order)
    unseen = random_stream(9, 200, seed=4)
    found = model.most_likely(unseen)
    for place in range(len(unseen)):
        start = max((i + 1 for i in range(place) if unseen[i] == 0), default=0)
        distribution = after(model, tuple(int(token) for token in unseen[start:place]))
        assert distribution[found[place]] == pytest.approx(distribution.max(), abs=1e-12)


def test_a_trigram_learns_what_a_unigram_can_not():
    tokens = np.tile([1, 2, 3, 4, 0], 200)
    unigram, trigram = (fit_ngram(tokens, 5, 0, order) for order in (1, 3))
    assert unigram.nats(tokens).mean() == pytest.approx(np.log(5), abs=0.01)
    assert trigram.nats(tokens).mean() < 0.05
    assert (trigram.most_likely(tokens) == tokens).all()


def test_refuses_no_tokens_and_keys_that_do_not_fit():
    with refused(DataError, "too_few", "training split"):
        fit_ngram(np.array([], dtype=np.uint16), 5, 0, 3)
    with refused(DataError, "unsupported", "1,048,576 entries"):
        fit_ngram(np.array([1, 0]), 2**21, 0, 3)
