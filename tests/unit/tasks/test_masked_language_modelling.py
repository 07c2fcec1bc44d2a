"""Masked-token pretraining: what is masked, what is learned from, and what a model fills in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from langmill.errors import ConfigError
from langmill.models.base import build_backbone
from langmill.models.generation.config import Sampling
from langmill.models.heads import LanguageModel
from langmill.tasks.batching import num_blocks
from langmill.tasks.masked_language_modelling import MASK, MaskedLanguageModelling, mask_tokens
from langmill.tokenization.tokenizer import Tokenizer
from tests.refused import refused

from .conftest import sentences
from .networks import MASKED_LENGTH, masked_network, masking_tokenizer
from .settings import shard as plain_shard
from .settings import shipped_task, tiny_options, training

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def masking(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A tokenizer with a mask token."""
    return masking_tokenizer(tmp_path_factory.mktemp("masking"))


@pytest.fixture
def task() -> MaskedLanguageModelling:
    task = shipped_task("masked_language_modelling")
    assert isinstance(task, MaskedLanguageModelling)
    return task


@pytest.fixture
def network(task: MaskedLanguageModelling, masking: Tokenizer) -> Iterator[LanguageModel]:
    yield masked_network(task, masking)


def shard(masking: Tokenizer, texts: list[str]) -> Any:
    found = plain_shard([masking.encode(text) for text in texts])
    found.vocab_size, found.special_ids = masking.vocab_size, masking.special_ids
    return found


def test_shares_are_those_of_the_paper() -> None:
    tokens = np.full(200_000, 7)
    random = np.random.default_rng(0)
    chances = random.random(tokens.shape), random.random(tokens.shape)
    read, targets = mask_tokens(tokens, 0.15, 1, chances, random.integers(1000, size=tokens.shape))
    chosen = targets >= 0
    assert chosen.mean() == pytest.approx(0.15, abs=0.005)
    assert (targets[chosen] == 7).all()
    assert (read[~chosen] == 7).all()
    assert (read[chosen] == 1).mean() == pytest.approx(0.8, abs=0.01)
    assert (read[chosen] == 7).mean() == pytest.approx(0.1, abs=0.01)


def test_each_epoch_masks_other_tokens_and_a_batch_is_always_the_same(
    task: MaskedLanguageModelling, masking: Tokenizer
) -> None:
    data = shard(masking, sentences(30, 20, 3))
    settings = training(batch_size=4, micro_batch_size=2, block_length=16)
    of = [task.micro_batches(data, settings, rank=rank, world_size=2, eot_id=0) for rank in (0, 1)]
    first, again, later = of[0][0], of[0][0], of[0][-(-num_blocks(data.num_tokens, 16) // 4)]
    assert torch.equal(first["tokens"], again["tokens"]) and torch.equal(first["targets"], again["targets"])
    assert not torch.equal(first["targets"], later["targets"])
    assert not torch.equal(first["targets"] >= 0, of[1][0]["targets"] >= 0)
    assert task.num_targets(first) == int((first["targets"] >= 0).sum()) > 0
    validation = task.validation_batches(data, settings, eot_id=0)
    assert torch.equal(validation[0]["tokens"], task.validation_batches(data, settings, eot_id=0)[0]["tokens"])


def test_what_is_masked_does_not_depend_on_micro_batches_and_processes(
    task: MaskedLanguageModelling, masking: Tokenizer
) -> None:
    data = shard(masking, sentences(30, 20, 3))

    def blocks(micro_batch_size: int, world_size: int) -> list[tuple[torch.Tensor, ...]]:
        settings = training(batch_size=12, micro_batch_size=micro_batch_size, block_length=15)
        accumulation = 12 // (micro_batch_size * world_size)
        of = [
            task.micro_batches(data, settings, rank=rank, world_size=world_size, eot_id=0) for rank in range(world_size)
        ]
        steps = 2 * -(-num_blocks(data.num_tokens, 15) // 12)  # and across the end of an epoch
        batches = [part[index] for index in range(steps * accumulation) for part in of]
        return [block for batch in batches for block in zip(batch["tokens"], batch["targets"], strict=True)]

    expected = blocks(12, 1)
    for found in (blocks(3, 1), blocks(3, 2), blocks(1, 4)):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


def test_a_batch_in_which_nothing_is_masked_costs_nothing(task: MaskedLanguageModelling, masking: Tokenizer) -> None:
    network = task.network(build_backbone("encoder", tiny_options(), masking.vocab_size, MASKED_LENGTH, "test"))
    tokens = torch.ones(2, 6, dtype=torch.long)
    batch = {"tokens": tokens, "targets": torch.full_like(tokens, -1)}
    loss = task.loss(network, batch)
    loss.backward()
    assert loss.item() == task.num_targets(batch) == 0
    assert all(weight.grad is None or not weight.grad.any() for weight in network.parameters())


def test_a_tokenizer_without_a_mask_is_refused(task: MaskedLanguageModelling, masking: Tokenizer) -> None:
    data = shard(masking, ["a film"])
    data.special_ids = {}
    with refused(ConfigError, "missing", "'<|mask|>'", "special_tokens"):
        task.micro_batches(data, training(), rank=0, world_size=1, eot_id=0)


def test_masks_are_filled_and_nothing_else_changes(
    task: MaskedLanguageModelling, network: LanguageModel, masking: Tokenizer
) -> None:
    text = f"the film was {MASK} and the actors {MASK}"
    ids = task.prompt_ids(masking, text)
    assert sum(token < 0 for token in ids) == 2
    greedy = Sampling(50)
    filled = list(task.generate(network, ids, greedy))
    read = [~token if token < 0 else token for token in ids]
    with torch.no_grad():
        most_likely = network(torch.tensor([read]))[0].argmax(dim=-1).tolist()
    assert filled == [most_likely[place] if token < 0 else token for place, token in enumerate(ids)]
    assert task.sample(network, masking, text, seed=1) == masking.decode(filled)
    assert list(task.generate(network, task.prompt_ids(masking, ""), greedy)) == [masking.eot_id]
    assert len(list(task.generate(network, ids, Sampling(3)))) == 3
