"""A training from preferences that was interrupted compares with the model that it began with, not with its own."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from langmill.data.document import Document
from langmill.tasks.preferences import Preferences
from langmill.tokenization.tokenizer import Tokenizer
from langmill.training.module import TrainingModule
from langmill.training.sharding import load_trained_state, trained_state
from tests.unit.tasks.conftest import sentences, tokenizer
from tests.unit.tasks.settings import shipped_task, tiny_backbone, training
from tests.unit.tasks.test_chat import shard_of

__all__ = ["tokenizer"]
pytestmark = pytest.mark.unit
LENGTH, STEPS, SAVED = 48, 6, 3


@pytest.fixture
def begin(tokenizer: Tokenizer, tmp_path: Path) -> Any:
    texts = sentences(36, 8, 5)
    documents = [
        Document(f"d{number}", texts[number], target=texts[number + 12], metadata={"rejected": texts[number + 24]})
        for number in range(12)
    ]

    def of() -> TrainingModule:
        torch.manual_seed(1)
        task: Any = shipped_task("preferences", length=LENGTH, prompt_length=24)
        assert isinstance(task, Preferences)
        usable: Any = [document for document in documents if task.check(document) is None]
        network = task.network(tiny_backbone(tokenizer.vocab_size, LENGTH))
        settings = training(batch_size=4, micro_batch_size=2, block_length=LENGTH, steps=100)
        shard = shard_of(task, tokenizer, tmp_path / "shard", *usable)
        batches = task.micro_batches(shard, settings, rank=0, world_size=1, eot_id=tokenizer.eot_id)
        module = TrainingModule(network, task, settings, lambda *_: batches, bf16=False, sharded=False)
        strategy = SimpleNamespace(model=None, pre_backward=lambda _: None, post_backward=lambda _: None)
        module._trainer = SimpleNamespace(strategy=strategy)
        module.configure_model()
        module.configure_optimizers()
        return module

    return of


def learn(module: TrainingModule, end: int) -> list[float]:
    batches: Any = module._batches(0, 1)
    for step in range(module.step, end):
        module._make_step([batches[2 * step], batches[2 * step + 1]], [2.0, 2.0])
    return [loss.item() for loss in module.losses]


def test_an_interrupted_training_ends_with_the_same_bytes(begin: Any) -> None:
    whole = begin()
    losses = learn(whole, STEPS)
    assert losses[0] == pytest.approx(math.log(2), rel=1e-6)  # nothing is preferred yet
    assert losses[-1] < losses[0]
    stopped = begin()
    learn(stopped, SAVED)
    resumed = begin()
    load_trained_state(resumed.network, trained_state(stopped.network))
    resumed.optimizer.load_state_dict(stopped.optimizer.state_dict())
    resumed.step = SAVED
    assert learn(resumed, STEPS) == losses[SAVED:]
    for one, other in zip(whole.network.parameters(), resumed.network.parameters(), strict=True):
        assert torch.equal(one, other)
    assert not any("reference" in name for name in trained_state(whole.network))
