"""Which documents are compared: those that share a band, at most so many, the nearest first."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langmill.data.near_duplicates.candidates import HEADS, MOST, Candidates
from langmill.data.near_duplicates.clusters import Clusters, copies_of
from langmill.data.near_duplicates.minhash import BANDS

pytestmark = pytest.mark.unit


def by_hand(bands: np.ndarray, ordered: np.ndarray) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for place, number in enumerate(ordered):
        shared: dict[int, int] = {}
        for band in range(BANDS):
            alike = [at for at, other in enumerate(ordered) if bands[other, band] == bands[number, band]]
            for other in alike[:HEADS]:
                if other < place:
                    shared[other] = shared.get(other, 0) + 1
        if any((bands[ordered, band] == bands[number, band]).sum() > 1 for band in range(BANDS)):
            found[place] = sorted(sorted(shared, key=lambda other: (-shared[other], other))[:MOST])
    return found


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.sampled_from([3, 40, 10**6]), st.integers(0, 10**6))
def test_they_are_those_by_hand(count: int, values: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    bands = generator.integers(1, values, (count, BANDS), np.uint64, endpoint=True)
    ordered = generator.permutation(count)[: max(1, count - 3)]
    candidates = Candidates(ordered, lambda band: bands[:, band])
    half = len(candidates.documents) // 2
    before = [*candidates.before(0, half), *candidates.before(half, len(candidates.documents))]
    told = {int(place): each.tolist() for place, each in zip(candidates.documents, before, strict=True)}
    assert told == by_hand(bands, ordered)


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=30))
def test_clusters_are_what_is_connected(joined: list[tuple[int, int]]) -> None:
    clusters = Clusters(20)
    expected = list(range(20))
    for one, other in joined:
        clusters.join(one, other)
        first, second = sorted((expected[one], expected[other]))
        expected = [first if each == second else each for each in expected]
    assert clusters.least().tolist() == expected


def test_sizes_have_classes() -> None:
    assert copies_of(np.array([1, 2, 3, 4, 9, 10, 5000])) == ["1", "2-3", "2-3", "4-9", "4-9", "10+", "10+"]
