"""Preferences are learned by the paper's loss, against the network that training began with."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from langmill.data.document import Document
from langmill.errors import ConfigError, ModelError
from langmill.models.heads import LanguageModel
from langmill.tasks.batching import Batch
from langmill.tasks.preferences import Preferences, dpo_loss, log_likelihoods
from langmill.tokenization.chat_template import IM_END
from langmill.tokenization.tokenizer import Tokenizer
from tests.refused import refused

from .settings import shipped_task, tiny_backbone, training
from .test_chat import shard_of

pytestmark = pytest.mark.unit
PAIR = Document(
    "p",
    "Really?",
    target="Yes, it was good.",
    metadata={"rejected": "No.", "history": json.dumps([["Hi", "Hello"]]), "system": "Be good."},
)
OTHER = Document("q", "Who liked the film?", target="The actor.", metadata={"rejected": "I was not in it at all."})
TRL = {0.1: 0.6581863760948181, 0.5: 0.8219324946403503}
"""By beta, the loss of TRL 1.16.0 (`DPOTrainer._compute_loss`, "sigmoid") of the logits and tokens below."""


def preferences(**options: Any) -> Preferences:
    task = shipped_task("preferences", **{"length": 200, **options})
    assert isinstance(task, Preferences)
    return task


def batch_of(task: Preferences, tokenizer: Tokenizer, folder: Path, *documents: Document, length: int = 200) -> Batch:
    shard = shard_of(task, tokenizer, folder, *documents)
    count = len(documents)
    settings = training(batch_size=count, micro_batch_size=count, block_length=length)
    return task.micro_batches(shard, settings, rank=0, world_size=1, eot_id=tokenizer.eot_id)[0]


class Stored(nn.Module):
    """Gives the same logits, whatever it reads."""

    vocab_size = 5

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, tokens_BT: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        return self.logits[:, : tokens_BT.shape[1]]


class Given(LanguageModel):
    """A language model of these logits."""

    def __init__(self, logits: Tensor) -> None:
        nn.Module.__init__(self)
        self.model = Stored(logits)  # type: ignore[assignment]

    def head(self, hidden_BTD: Tensor) -> Tensor:
        return hidden_BTD


def test_the_loss_is_equation_7_of_the_paper() -> None:
    # Log-ratios 0.5 and -1.5 for the first pair, 0.2 and 0.2 for the second, beta 0.1: rewards are a tenth of them.
    chosen, rejected = torch.tensor([0.05, 0.02]), torch.tensor([-0.15, 0.02])
    by_hand = (math.log(1 + math.exp(-0.2)) + math.log(2)) / 2
    assert dpo_loss(chosen, rejected).item() == pytest.approx(by_hand, rel=1e-6)
    smoothed = (0.9 * math.log(1 + math.exp(-0.2)) + 0.1 * math.log(1 + math.exp(0.2)) + math.log(2)) / 2
    assert dpo_loss(chosen, rejected, 0.1).item() == pytest.approx(smoothed, rel=1e-6)


@pytest.mark.parametrize("beta", TRL)
def test_the_loss_is_that_of_trl_on_the_same_logits(beta: float) -> None:
    ids = torch.tensor([[1, 2, 3, 4, 0, 2], [2, 2, 1, 3, 0, 0], [1, 2, 3, 1, 4, 0], [2, 2, 1, 4, 4, 0]])
    counted = torch.tensor([[0, 0, 1, 1, 1, 0], [0, 0, 0, 1, 1, 0], [0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1]]).bool()
    places = torch.arange(4 * 6 * 5)
    policy, reference = (2 * torch.sin(places * 0.7)).view(4, 6, 5), torch.cos(places * 0.3).view(4, 6, 5)
    task, network = preferences(beta=beta), Given(reference)
    task.before_training(network)
    with torch.no_grad():
        network.model.logits.copy_(policy)
    targets = torch.where(counted, ids, -1)[:, 1:]
    loss = task.loss(network, {"tokens": ids[:, :-1], "targets": targets, "lengths": torch.full((4,), 5)})
    assert loss.item() == pytest.approx(TRL[beta], rel=1e-6)
    loss.backward()
    assert float(network.model.logits.grad.abs().sum()) > 0


def test_a_batch_has_both_answers_after_the_same_prompt(chatml: Tokenizer, tmp_path: Path) -> None:
    batch = batch_of(preferences(), chatml, tmp_path, PAIR, OTHER)
    assert batch["tokens"].shape[0] == 4
    names = {number: name for name, number in chatml.special_ids.items()}
    learned = ["".join(names.get(token) or chatml.decode([token]) for token in row[row >= 0].tolist())
               for row in batch["targets"]]  # fmt: skip
    first = 0 if learned[0].startswith("Yes") else 1
    assert (learned[first], learned[first + 2]) == (f"Yes, it was good.{IM_END}", f"No.{IM_END}")
    assert learned[1 - first] == f"The actor.{IM_END}"
    assert learned[3 - first] == f"I was not in it at all.{IM_END}"
    prompts = [row[: int((targets >= 0).nonzero()[0]) + 1].tolist()
               for row, targets in zip(batch["tokens"], batch["targets"], strict=True)]  # fmt: skip
    assert prompts[0] == prompts[2]
    assert prompts[1] == prompts[3]
    assert preferences().num_targets(batch) == 2


def test_what_is_too_long_is_cut_for_both_alike(chatml: Tokenizer, tmp_path: Path) -> None:
    long = Document("l", "the film " * 40, target="good " * 30, metadata={"rejected": "bad"})
    task = preferences(length=40, prompt_length=20)
    (encoded,) = task.encode([long], chatml, 1)
    prompt, chosen, rejected = (len(part) for part in encoded.parts)
    assert prompt + chosen == 41
    assert rejected < chosen
    assert encoded.truncated == {"prompt", "answer"}
    batch = batch_of(task, chatml, tmp_path, long, length=40)
    assert batch["tokens"].shape[1] == 40


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [({}, "missing_rejected"), ({"rejected": " Yes, it was good."}, "equal_answers"), ({"rejected": "No."}, None)],
)
def test_pairs_that_prefer_nothing_are_left_out(metadata: dict[str, str], reason: str | None) -> None:
    assert preferences().check(Document("p", "Really?", target=PAIR.target, metadata=metadata)) == reason


def test_likelihoods_are_those_of_the_whole_logits_in_chunks_too(
    chatml: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = preferences()
    torch.manual_seed(0)
    network = task.network(tiny_backbone(chatml.vocab_size, 200))
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.2)
    assert isinstance(network, LanguageModel)
    batch = batch_of(task, chatml, tmp_path, PAIR, OTHER)
    expected_BT = network(batch["tokens"]).log_softmax(-1).gather(-1, batch["targets"].clamp(min=0)[..., None])[..., 0]
    expected_B = (expected_BT * (batch["targets"] >= 0)).sum(1)
    gradients = torch.autograd.grad(expected_B.sum(), list(network.parameters()))
    for at_once in (2**24, 3 * chatml.vocab_size):
        monkeypatch.setattr("langmill.tasks.preferences._LOGITS_AT_ONCE", at_once)
        found_B = log_likelihoods(network, batch)
        assert torch.allclose(found_B, expected_B, rtol=1e-5)
        found = torch.autograd.grad(found_B.sum(), list(network.parameters()))
        assert all(
            torch.allclose(one, other, rtol=1e-3, atol=1e-4) for one, other in zip(found, gradients, strict=True)
        )


def test_the_reference_is_the_network_that_training_began_with(chatml: Tokenizer, tmp_path: Path) -> None:
    task = preferences()
    torch.manual_seed(0)
    network = task.network(tiny_backbone(chatml.vocab_size, 200))
    assert isinstance(network, LanguageModel)
    network.model.embedding.weight.requires_grad_(False)
    batch = batch_of(task, chatml, tmp_path, PAIR, OTHER)
    with refused(ModelError, "missing", "before_training"):
        task.loss(network, batch)
    task.before_training(network)
    reference: Any = task._reference
    assert reference.model.embedding.weight is network.model.embedding.weight  # what is frozen is there once
    assert task.loss(network, batch).item() == pytest.approx(math.log(2), rel=1e-6)
    before = copy.deepcopy(reference.state_dict())
    optimizer = torch.optim.Adam([weight for weight in network.parameters() if weight.requires_grad], lr=0.02)
    for _ in range(20):
        optimizer.zero_grad()
        task.loss(network, batch).backward()
        optimizer.step()
    assert task.loss(network, batch).item() < 0.5
    assert all(torch.equal(before[name], value) for name, value in reference.state_dict().items())
    with torch.no_grad():
        nats_B = log_likelihoods(network, batch) - log_likelihoods(reference, batch)
    assert bool((nats_B[:2] > nats_B[2:]).all())


def test_every_turn_at_once_is_refused() -> None:
    with refused(ConfigError, "impossible", "learn", "last_turn"):
        preferences(learn="every_turn")
