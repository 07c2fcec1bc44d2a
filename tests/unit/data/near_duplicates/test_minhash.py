"""Signatures agree as often as their documents are alike, and bands propose by the curve that is promised."""

from __future__ import annotations

import numpy as np
import pytest

from langmill.data.near_duplicates.minhash import BANDS, NONE, ROWS, bands, chance_to_be_proposed, signatures

pytestmark = pytest.mark.unit


def test_the_curve_at_what_the_record_says() -> None:
    told = {0.02: 0.0000045, 0.3: 0.204, 0.5: 0.836, 2 / 3: 0.998}  # 2/3: equal lengths, four fifths in common
    for similarity, chance in told.items():
        assert chance_to_be_proposed(similarity) == pytest.approx(chance, rel=0.01)
    assert chance_to_be_proposed(0.5, 14, 8) == pytest.approx(0.0534, abs=0.0005)
    assert chance_to_be_proposed(1) == 1


@pytest.mark.parametrize("similarity", [0.2, 0.5, 0.8])
def test_agreement_is_the_similarity(similarity: float) -> None:
    """200 pairs: four standard deviations of the mean of 112 draws each are below 0.014, of the share of pairs 0.15."""
    generator = np.random.default_rng(1)
    size, pairs = 300, 200
    common = round(2 * size * similarity / (1 + similarity))
    agreed, proposed = [], 0
    for _ in range(pairs):
        shared, one, other = (
            generator.integers(0, 2**32, count, dtype=np.uint32) for count in (common, size - common, size - common)
        )
        words, ends = np.concatenate([shared, one, shared, other]), np.array([size, 2 * size])
        first, second = signatures(words, ends, 1, 1)
        agreed.append((first == second).mean())
        first_bands, second_bands = bands(words, ends, 1, 1)
        proposed += bool((first_bands == second_bands).any())
    exact = common / (2 * size - common)
    assert np.mean(agreed) == pytest.approx(exact, abs=0.014)
    assert proposed / pairs == pytest.approx(chance_to_be_proposed(exact), abs=0.15)


def test_texts_together_have_the_signatures_of_each_alone() -> None:
    texts = [np.arange(start, start + length, dtype=np.uint32) for start, length in ((0, 9), (5, 2), (7, 0), (3, 30))]
    words, ends = np.concatenate(texts), np.cumsum([len(text) for text in texts])
    together = bands(words, ends, 3, 4)
    for text, found in zip(texts, together, strict=True):
        assert found.tolist() == bands(text, np.array([len(text)]), 3, 4)[0].tolist()
        assert (found == NONE).all() == (len(text) < 4)
    assert together.shape == (4, BANDS)
    assert signatures(words, ends, 3, 4).shape == (4, BANDS * ROWS)


def test_repetitions_and_order_of_ngrams_change_nothing() -> None:
    one = np.array([1, 2, 3, 4, 5, 6], np.uint32)
    twice = np.concatenate([one, one])
    assert (signatures(one, np.array([6]), 1, 1) == signatures(twice[::-1].copy(), np.array([12]), 1, 1)).all()
