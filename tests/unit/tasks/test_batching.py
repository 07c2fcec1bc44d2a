from __future__ import annotations

import numpy as np
import pytest
import torch

from langmill.errors import ConfigError, DataError
from langmill.tasks.batching import (
    Batch,
    BucketedBatches,
    Examples,
    MicroBatches,
    PackedBatches,
    Share,
    Truncation,
    fill_batches,
    first_batches,
    pad,
    truncate,
)
from tests.refused import refused

from .settings import training

pytestmark = pytest.mark.unit
BATCH, LENGTH = 8, 5
STREAM = np.arange(203, dtype=np.uint16)  # every token says where it stood


def packed(
    micro: int = BATCH, rank: int = 0, world_size: int = 1, seed: int = 1, tokens: np.ndarray = STREAM
) -> MicroBatches:
    return PackedBatches(tokens, LENGTH, Share(seed, BATCH, micro, rank, world_size))


def examples(count: int) -> Examples:
    random = np.random.default_rng(0)
    lengths = random.integers(1, 30, count)
    tokens = np.repeat(np.arange(count), lengths + 1).astype(np.uint16)  # every token says which example it is of
    return Examples(
        tokens, np.cumsum(lengths + 1) - lengths - 1, lengths, np.arange(count) % 3, np.ones(count, dtype=np.float32)
    )


def bucketed(micro: int = BATCH, rank: int = 0, world_size: int = 1, seed: int = 1, count: int = 61) -> BucketedBatches:
    return BucketedBatches(examples(count), 20, Truncation.head, 0, Share(seed, BATCH, micro, rank, world_size))


def rows(batch: Batch) -> list[tuple[int, ...]]:
    lengths = batch.get("lengths", torch.full((len(batch["tokens"]),), batch["tokens"].shape[1]))
    return [tuple(row[:length].tolist()) for row, length in zip(batch["tokens"], lengths, strict=True)]


@pytest.mark.parametrize("make", [packed, bucketed])
@pytest.mark.parametrize(("world_size", "micro"), [(1, 8), (1, 2), (2, 4), (2, 2), (4, 2), (4, 1), (8, 1)])
def test_global_batch_is_the_same_for_any_number_of_processes_and_micro_batches(make, world_size, micro):
    whole = make()
    accumulation = BATCH // (world_size * micro)
    for step in (0, 1, 4, 5, 6, 40):
        parts = [
            make(micro, rank, world_size)[step * accumulation + turn]
            for rank in range(world_size)
            for turn in range(accumulation)
        ]
        assert all(len(part["tokens"]) == micro for part in parts)
        assert sorted(row for part in parts for row in rows(part)) == sorted(rows(whole[step]))


@pytest.mark.parametrize("make", [packed, bucketed])
def test_a_batch_does_not_depend_on_what_was_asked_before(make):
    used = make()
    for index in (30, 0, 7, 8, 2):
        used[index]
    for index in (7, 0, 30):
        expected = make()[index]
        assert used[index].keys() == expected.keys()
        assert all(torch.equal(used[index][key], expected[key]) for key in expected)


@pytest.mark.parametrize(("make", "epoch_steps"), [(packed, 5), (bucketed, 8)])
def test_seed_and_epoch_change_the_order(make, epoch_steps):
    first = make()
    assert rows(first[0]) != rows(make(seed=2)[0])
    assert rows(first[0]) != rows(first[epoch_steps])


def test_packed_targets_follow_their_tokens_and_types_are_int64():
    batch = packed()[3]
    assert batch["tokens"].shape == batch["targets"].shape == (BATCH, LENGTH)
    assert batch["tokens"].dtype == batch["targets"].dtype == torch.int64
    assert torch.equal(batch["targets"], (batch["tokens"] + 1) % len(STREAM))  # the stream is a ring


def test_packed_pass_reads_no_token_twice_and_leaves_out_less_than_a_block():
    num_blocks = len(STREAM) // LENGTH
    batches = packed(1)
    for epoch in range(3):
        read = [
            token for item in range(num_blocks) for token in batches[epoch * num_blocks + item]["tokens"][0].tolist()
        ]
        assert len(set(read)) == len(read) == num_blocks * LENGTH


def test_packed_phase_differs_between_passes():
    num_blocks = len(STREAM) // LENGTH
    batches = packed(1)
    phases = {int(batches[epoch * num_blocks]["tokens"][0, 0]) % LENGTH for epoch in range(20)}
    assert len(phases) > 1


def test_packed_batches_of_a_stream_shorter_than_one_block():
    batch = packed(tokens=np.array([5, 6, 0], dtype=np.uint16))[2]
    assert batch["tokens"].shape == (BATCH, LENGTH)
    follows = {5: 6, 6: 0, 0: 5}
    assert all(
        follows[a] == b
        for a, b in zip(batch["tokens"].ravel().tolist(), batch["targets"].ravel().tolist(), strict=True)
    )


def test_empty_streams_and_splits_are_refused():
    with refused(DataError, "too_few", "tokens", "split.validation"):
        packed(tokens=np.array([], dtype=np.uint16))
    with refused(DataError, "too_few", "document", "task.options"):
        bucketed(count=0)


@pytest.mark.parametrize("count", [1, 3, 8, 61, 900])
def test_bucketed_pass_holds_every_example(count):
    batches = bucketed(count=count)
    assert batches.epoch_steps == -(-count // BATCH)
    for epoch in range(2):
        seen = [
            row[0] for step in range(batches.epoch_steps) for row in rows(batches[epoch * batches.epoch_steps + step])
        ]
        assert set(seen) == set(range(count))
        assert len(seen) - count < BATCH


def test_bucketed_batches_pad_cut_and_label():
    all_examples = examples(61)
    batch = bucketed()[0]
    assert batch["tokens"].shape == (BATCH, int(batch["lengths"].max()))
    for row, length, label in zip(batch["tokens"], batch["lengths"], batch["labels"], strict=True):
        example = int(row[0])
        assert int(length) == min(20, all_examples.lengths[example])
        assert int(label) == all_examples.labels[example]
        assert row[:length].tolist() == [example] * int(length)
        assert row[length:].tolist() == [0] * (len(row) - int(length))


def test_bucketing_wastes_little():
    batches = bucketed(count=900)
    lengths = torch.stack([batches[step]["lengths"] for step in range(100)]).double()
    padded = lengths.max(dim=1).values.sum() * BATCH
    assert lengths.sum() / padded > 0.9  # unsorted batches of these lengths: about 0.65


@pytest.mark.parametrize(
    ("truncation", "expected"),
    [
        (Truncation.head, [0, 1, 2, 3, 4]),
        (Truncation.tail, [5, 6, 7, 8, 9]),
        (Truncation.head_and_tail, [0, 1, 7, 8, 9]),
    ],
)
def test_truncate(truncation, expected):
    assert truncate(np.arange(10), 5, truncation).tolist() == expected
    assert truncate(np.arange(5), 5, truncation).tolist() == [0, 1, 2, 3, 4]


def test_an_empty_sequence_becomes_one_pad_token():
    tokens, lengths = pad([np.array([], dtype=np.uint16), np.array([4, 5], dtype=np.uint16)], pad_id=9)
    assert tokens.tolist() == [[9, 9], [4, 5]]
    assert lengths.tolist() == [1, 2]


def test_a_batch_is_padded_to_a_length_and_a_number_of_rows():
    tokens, lengths = pad([np.array([4, 5], dtype=np.uint16)], 9, length=3, rows=2)
    assert tokens.tolist() == [[4, 5, 9], [9, 9, 9]]
    assert lengths.tolist() == [2, 1]


def test_a_validation_takes_each_item_at_most_once():
    settings = training(batch_size=8, micro_batch_size=4, validation_batches=3)

    def make(share):
        assert (share.seed, share.rank, share.world_size) == (0, 0, 1)
        return PackedBatches(STREAM, LENGTH, share)

    validation = first_batches(40, settings, make)
    assert [len(batch["tokens"]) for batch in validation] == [4, 4, 4]
    expected = PackedBatches(STREAM, LENGTH, Share(0, 4, 4, 0, 1))[1]
    assert torch.equal(validation[1]["tokens"], expected["tokens"])
    assert [len(batch["tokens"]) for batch in first_batches(9, settings, make)] == [4, 4]
    assert [len(batch["tokens"]) for batch in first_batches(3, settings, make)] == [3]
    assert first_batches(0, settings, make) == []


def test_share_refuses_a_batch_that_can_not_be_cut_evenly():
    settings = training(batch_size=8, micro_batch_size=4)
    assert Share.of(settings, 1, 2).items(0) == (4, 8)
    with refused(ConfigError, "impossible", "training.batch_size is 8", "3 x 4"):
        Share.of(settings, 0, 3)


def test_fill_batches_keeps_within_the_tokens_and_loses_nothing():
    lengths = [1, 1, 2, 3, 5, 8, 13, 21]
    batches = list(fill_batches(lengths, 16))
    assert [index for batch in batches for index in batch] == list(range(len(lengths)))
    assert batches == [range(0, 4), range(4, 6), range(6, 7), range(7, 8)]  # the longest alone is over the limit
    assert list(fill_batches([], 16)) == []
