"""Pairs of texts as batches: what is read, what is learned from, and what is cut."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from langmill.errors import DataError
from langmill.tasks.batching import Share, Truncation
from langmill.tasks.pairs import Pair, PairBatches, Pairs, PromptAndResponse, SourceAndTarget, counted
from tests.refused import refused
from tests.unit.tasks.settings import training

pytestmark = pytest.mark.unit
EOT = 0


def pair(source: list[int], target: list[int]) -> Pair:
    return Pair(np.array(source, dtype=np.uint16), np.array(target, dtype=np.uint16))


def shard(pairs: list[tuple[list[int], list[int]]]) -> Any:
    lengths = np.array([len(source) + len(target) for source, target in pairs], dtype=np.int64)
    return SimpleNamespace(
        tokens=np.array([token for source, target in pairs for token in (*source, *target, EOT)], dtype=np.uint16),
        starts=np.cumsum(lengths + 1) - lengths - 1,
        part_lengths=lambda parts: np.array([[len(source), len(target)] for source, target in pairs]),
    )


def test_source_and_target_end_with_end_of_text() -> None:
    batch = SourceAndTarget(8, Truncation.head, EOT).collate([pair([5, 6, 7], [8]), pair([9], [1, 2, 3])])
    assert batch["source"].tolist() == [[5, 6, 7, 0], [9, 0, 0, 0]]
    assert batch["source_lengths"].tolist() == [4, 2]
    assert batch["targets"].tolist() == [[8, 0, -1, -1], [1, 2, 3, 0]]
    assert batch["lengths"].tolist() == [6, 6]
    assert counted(batch["targets"]) == 6


def test_a_target_that_was_cut_does_not_end() -> None:
    batch = SourceAndTarget(3, Truncation.head, EOT).collate([pair([5, 6, 7, 8], [1, 2, 3, 4])])
    assert batch["source"].tolist() == [[5, 6, 0]]
    assert batch["targets"].tolist() == [[1, 2, 3]]


def test_only_the_response_is_learned_from() -> None:
    form = PromptAndResponse(10, Truncation.tail, EOT, 4)
    batch = form.collate([pair([5, 6], [7, 8, 9]), pair([1], [])])
    assert batch["tokens"].tolist() == [[0, 5, 6, 7, 8, 9], [0, 1, 0, 0, 0, 0]]
    assert batch["targets"].tolist() == [[-1, -1, 7, 8, 9, 0], [-1, 0, -1, -1, -1, -1]]
    assert batch["lengths"].tolist() == [6, 2]
    assert counted(batch["targets"]) == 5


def test_a_long_prompt_leaves_room_and_a_long_response_is_cut() -> None:
    batch = PromptAndResponse(6, Truncation.tail, EOT, 2).collate([pair([1, 2, 3, 4], [5, 6, 7, 8, 9])])
    assert batch["tokens"].tolist() == [[0, 3, 4, 5, 6, 7]]
    assert batch["targets"].tolist() == [[-1, -1, 5, 6, 7, 8]]


@pytest.mark.parametrize(
    "form", [SourceAndTarget(12, Truncation.head, EOT), PromptAndResponse(12, Truncation.head, EOT, 5)]
)
def test_a_pass_holds_every_pair_and_the_lengths_are_right(form: Any) -> None:
    random = np.random.default_rng(1)
    drawn = [
        (
            random.integers(1, 99, random.integers(1, 15)).tolist(),
            random.integers(1, 99, random.integers(1, 15)).tolist(),
        )
        for _ in range(37)
    ]
    pairs = Pairs(shard(drawn))
    assert [(each.source.tolist(), each.target.tolist()) for each in pairs] == drawn
    settings = training(batch_size=4, micro_batch_size=4)
    batches = PairBatches(pairs, form, Share.of(settings, 0, 1))
    expected = form.lengths(*pairs.part_lengths.T)
    seen = [batches[index] for index in range(batches.epoch_steps)]
    lengths = torch.cat([batch["lengths"] for batch in seen])
    assert len(lengths) == 40  # three come twice
    repeated = list(lengths.tolist())
    for length in expected.tolist():
        repeated.remove(length)
    assert len(repeated) == 3
    again = PairBatches(pairs, form, Share.of(settings, 0, 1))[3]
    assert all(torch.equal(again[name], seen[3][name]) for name in again)


def test_no_pairs_are_refused() -> None:
    with refused(DataError, "too_few", "document"):
        empty = SimpleNamespace(
            tokens=np.array([], dtype=np.uint16),
            starts=np.array([], dtype=np.int64),
            part_lengths=lambda parts: np.zeros((0, 2), dtype=np.int64),
        )
        PairBatches(Pairs(empty), SourceAndTarget(8, Truncation.head, EOT), Share(1, 4, 4, 0, 1))
