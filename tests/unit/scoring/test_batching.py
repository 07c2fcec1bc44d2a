from __future__ import annotations

import pytest

from langmill.scoring.batching import padded_length, uniform_batches

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("length", "padded"), [(0, 8), (1, 8), (8, 8), (9, 16), (33, 40), (64, 64), (65, 80), (129, 160), (250, 250)]
)
def test_a_padded_length_depends_on_the_sequence_alone(length, padded):
    assert padded_length(length, 250) == padded
    assert padded - length <= max(8, length / 4)


def test_uniform_batches_have_one_shape_and_lose_nothing():
    shapes = [(8,), (16,), (8,), (8,), (32,), (16,)]
    batches = list(uniform_batches(shapes, 16))
    assert batches == [([0, 2], (8,)), ([3], (8,)), ([1], (16,)), ([5], (16,)), ([4], (32,))]
    assert list(uniform_batches([], 16)) == []
