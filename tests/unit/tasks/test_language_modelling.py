from __future__ import annotations

import math

import pytest
import torch

from langmill.data.document import Document
from langmill.errors import ConfigError
from tests.refused import refused

from .settings import shard, shipped_task, tiny_backbone, training

pytestmark = pytest.mark.unit
REACH = 24


@pytest.fixture(scope="module")
def task():
    return shipped_task("language_modelling")


@pytest.fixture(scope="module")
def network(task, tokenizer):
    torch.manual_seed(0)
    network = task.network(tiny_backbone(tokenizer.vocab_size, REACH)).eval()
    with torch.no_grad():  # strong opinions, so that a wrong context shows
        for weight in network.parameters():
            weight.mul_(8 if weight.dim() > 1 else 1)
    return network


def test_training_and_validation_batches_fit_the_settings(task):
    settings = training(batch_size=4, micro_batch_size=2, block_length=6, validation_batches=3)
    tiny = shard([[1, 2, 3], [4, 5]])
    batches = task.micro_batches(tiny, settings, rank=1, world_size=2, eot_id=0)
    assert batches[0]["tokens"].shape == (2, 6)
    validation = task.validation_batches(tiny, settings, eot_id=0)
    assert [batch["tokens"].shape for batch in validation] == [(1, 6)]  # seven tokens make one block
    assert task.validation_batches(shard([]), settings, eot_id=0) == []
    larger = task.validation_batches(shard([[1] * 99] * 10), settings, eot_id=0)
    assert [len(batch["tokens"]) for batch in larger] == [2, 2, 2]


def test_loss_counts_its_tokens_and_starts_near_the_uniform_one(task, tokenizer):
    torch.manual_seed(0)
    network = task.network(tiny_backbone(tokenizer.vocab_size, REACH))
    batch = {"tokens": torch.ones(2, 6, dtype=torch.long), "targets": torch.zeros(2, 6, dtype=torch.long)}
    assert task.num_targets(batch) == 12
    assert task.loss(network, batch).item() == pytest.approx(math.log(tokenizer.vocab_size), abs=0.3)


def test_sample_goes_on_from_the_prompt_the_same_way_for_the_same_seed(task, network, tokenizer):
    first = task.sample(network, tokenizer, "the film", seed=1)
    assert first.startswith("the film") and len(first) > len("the film")
    assert task.sample(network, tokenizer, "the film", seed=1) == first
    assert task.sample(network, tokenizer, "the film " * 100, seed=1).startswith("the film the film")


def test_prompts_begin_with_end_of_text_and_empty_documents_are_left_out(task, tokenizer):
    assert task.prompt_ids(tokenizer, "") == [tokenizer.eot_id]
    assert task.check(Document("a", "")) == "empty_text"
    assert task.check(Document("a", "x")) is None


def test_impossible_options_are_refused():
    with refused(ConfigError, "impossible", "task.options.sample_temperature is 11", "0 to 10"):
        shipped_task("language_modelling", sample_temperature=11)
