"""Effect sizes against values that can be reckoned by hand, and against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ks_2samp

from langmill.data.contract.effect_size import (
    distance_by_chance,
    distribution,
    ks_distance,
    ks_distance_at,
    total_variation,
)

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ({"a": 1, "b": 1}, {"a": 50, "b": 50}, 0.0),
        ({"a": 1}, {"b": 7}, 1.0),
        ({"a": 0.5, "b": 0.5}, {"a": 90, "b": 10}, 0.4),
        ({"a": 2, "b": 1, "c": 1}, {"a": 1, "b": 1, "c": 2}, 0.25),
        ({}, {"a": 1}, 0.0),
    ],
)
def test_total_variation_is_half_the_sum_of_the_differences(one, other, expected):
    assert total_variation(one, other) == pytest.approx(expected)
    assert total_variation(other, one) == pytest.approx(expected)


def test_the_distance_of_distributions_is_scipys():
    random = np.random.default_rng(3)
    one, other = np.sort(random.integers(0, 60, 500)), np.sort(random.integers(20, 90, 300))
    assert ks_distance(one, other) == pytest.approx(ks_2samp(one, other).statistic)
    assert ks_distance(one, one) == 0
    assert ks_distance(np.array([1, 2]), np.array([3, 4])) == 1
    assert ks_distance(np.array([1, 2, 3, 4]), np.array([3, 4, 5, 6])) == 0.5
    assert ks_distance(np.empty(0, np.int64), one) == 0


def test_the_distance_at_known_points_never_exceeds_the_distance_and_is_near_it():
    random = np.random.default_rng(4)
    one, other = np.sort(random.integers(0, 6000, 5000)), np.sort(random.integers(900, 9000, 5000))
    whole, known = ks_distance(one, other), ks_distance_at(one, distribution(other))
    assert whole - 0.05 < known <= whole + 1e-4  # shares are kept to four digits
    assert ks_distance_at(one, distribution(one)) < 1e-4


def test_a_distribution_has_each_value_once_with_the_share_up_to_it():
    assert distribution(np.array([5, 5, 5, 9])) == [(5, 0.75), (9, 1.0)]
    assert distribution(np.arange(1, 101), points=4) == [(1, 0.01), (25, 0.25), (50, 0.5), (75, 0.75), (100, 1.0)]
    assert distribution(np.empty(0, np.int64)) == []


def test_samples_of_one_population_are_within_the_distance_of_chance():
    random = np.random.default_rng(5)
    bound = distance_by_chance(200, 100)
    found = [ks_distance(np.sort(random.normal(size=200)), np.sort(random.normal(size=100))) for _ in range(300)]
    assert sum(distance > bound for distance in found) <= 3
    assert distance_by_chance(100, 100) == pytest.approx(2 * np.sqrt(np.log(400) / 200))
