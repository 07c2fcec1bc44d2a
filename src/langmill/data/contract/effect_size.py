"""How far two sets of documents lie apart, as effect sizes from 0 to 1 that do not grow with the number of documents.

Both are the largest difference between the shares that the two give to the same event: *total variation* over all sets
of labels or languages, the *Kolmogorov-Smirnov distance* over all sets "at most so long". So one limit is read the same
way for each: 0.1 means that nowhere more than a tenth of the documents is otherwise. A test of significance would say
"different" of any two large corpora.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

IntArray = np.ndarray[Any, np.dtype[np.int64]]


def total_variation(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Half the sum of the differences between the shares of each value.

    Levin and Peres, Markov Chains and Mixing Times (2nd ed., 2017), proposition 4.2.

    Args:
        one: Counts or shares by value.
        other: The same of the other set; its sum may be another one.

    Returns:
        From 0, where both have the same shares, to 1, where they have no value in common; 0 where one of them is empty.
    """
    sum_one, sum_other = sum(one.values()), sum(other.values())
    if not sum_one or not sum_other:
        return 0.0
    return sum(abs(one.get(key, 0) / sum_one - other.get(key, 0) / sum_other) for key in sorted({*one, *other})) / 2


def variation_from(listed: Mapping[str, float], counts: Mapping[str, int]) -> float:
    """Total variation between counts and shares of which the common ones are listed; what is not counts as one value.

    Args:
        listed: The shares of some values; what is missing from 1 is that of all others together.
        counts: The counts of now.
    """
    pooled = {key: float(count) for key, count in counts.items() if key in listed}
    pooled[_REST] = float(sum(counts.values())) - sum(pooled.values())
    return total_variation(pooled, {**listed, _REST: max(0.0, 1 - sum(listed.values()))})


_REST = "\0"
"""The key of all that is not listed; no label has it."""


def ks_distance(one: IntArray, other: IntArray) -> float:
    """The largest difference between two empirical distribution functions (Smirnov, 1939).

    Args:
        one: Numbers, sorted: (n,).
        other: The same of the other set: (m,).

    Returns:
        From 0 to 1; 0 where one of them is empty.
    """
    if not one.size or not other.size:
        return 0.0
    at = np.concatenate([one, other])
    apart = np.searchsorted(one, at, side="right") / one.size - np.searchsorted(other, at, side="right") / other.size
    return float(np.abs(apart).max())


def ks_distance_at(values: IntArray, points: Sequence[tuple[int, float]]) -> float:
    """The same against a distribution function of which some points are known: the largest difference at those.

    Args:
        values: Numbers, sorted: (n,).
        points: Pairs of a number and the share of the other set that is at most that.

    Returns:
        From 0 to 1, never more than the distance over all numbers; 0 where there is nothing to compare.
    """
    if not values.size or not points:
        return 0.0
    at, shares = np.asarray([point for point, _ in points]), np.asarray([share for _, share in points])
    return float(np.abs(np.searchsorted(values, at, side="right") / values.size - shares).max())


def distribution(values: IntArray, points: int = 20) -> list[tuple[int, float]]:
    """Points of an empirical distribution function: its quantiles, and the share that is at most each of them.

    Args:
        values: Numbers, sorted: (n,).
        points: Quantiles beside the smallest number, evenly spaced; equal ones are one point.

    Returns:
        Pairs for `ks_distance_at`, shares to four digits; none without values.
    """
    if not values.size:
        return []
    at = np.unique(np.quantile(values, np.linspace(0, 1, points + 1), method="lower"))
    shares = np.searchsorted(values, at, side="right") / values.size
    return [(int(point), round(float(share), 4)) for point, share in zip(at, shares, strict=True)]


def distance_by_chance(documents: int, reference: int) -> float:
    """What two samples of one population differ by, in `ks_distance`, no more than once in a hundred times.

    The one-sided bound of each sample (Massart, 1990), added for both: sqrt(ln(2 / a) / 2n) with a = 0.005.

    Args:
        documents: Size of the one sample.
        reference: Size of the other.
    """
    return float(sum(np.sqrt(np.log(2 / 0.005) / (2 * max(1, size))) for size in (documents, reference)))
