"""What preferences are counted from is on the card with the network, and frozen weights are there once."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from langmill.tokenization.tokenizer import Tokenizer
from tests.gpu.material import NEEDS_CARD
from tests.unit.tasks.settings import tiny_backbone
from tests.unit.tasks.test_preferences import OTHER, PAIR, batch_of, preferences

pytestmark = NEEDS_CARD


def test_the_reference_follows_the_network_to_the_card(chatml: Tokenizer, tmp_path: Path) -> None:
    task = preferences()
    network = task.network(tiny_backbone(chatml.vocab_size, 200))
    network.model.embedding.weight.requires_grad_(False)  # type: ignore[union-attr]
    task.before_training(network)
    batch = batch_of(task, chatml, tmp_path, PAIR, OTHER)
    loss = task.loss(network.to("cuda"), {name: tensor.to("cuda") for name, tensor in batch.items()})
    assert loss.item() == pytest.approx(math.log(2), rel=1e-5)
