"""Training at equal cost: the models take turns, each for the same processor time on one thread."""

from __future__ import annotations

import itertools

import pytest
import torch

from langmill.models.base import build_backbone
from langmill.models.heads import LanguageModel
from langmill.training import timed
from langmill.training.timed import Training, train_for

pytestmark = pytest.mark.unit
NETWORK = {
    "dim": 8, "num_layers": 1, "num_heads": 1, "num_kv_heads": 1, "hidden_dim": 8, "rope_theta": 10000.0,
    "norm_eps": 1e-5, "tie_embeddings": True, "dropout": 0.0,
}  # fmt: skip


class Batches:
    """Notes which step of which model is asked for, and on how many threads."""

    def __init__(self, name: str, asked: list[tuple[str, int, int]]) -> None:
        self.name, self.asked = name, asked

    def __getitem__(self, step: int) -> dict[str, torch.Tensor]:
        self.asked.append((self.name, step, torch.get_num_threads()))
        tokens = torch.arange(5)[None]
        return {"tokens": tokens[:, :-1], "targets": tokens[:, 1:]}


def test_whoever_has_had_the_least_time_goes_next(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.accumulate(itertools.cycle([0, 2, 0, 1, 0, 1]))  # a step of one model costs two of the other's
    monkeypatch.setattr(timed.time, "process_time", lambda: next(clock))
    threads, asked, taken = torch.get_num_threads(), [], []
    trainings = [
        Training(LanguageModel(build_backbone("decoder", NETWORK, 300, 8, "x")), Batches(name, asked))  # type: ignore[arg-type]
        for name in "ab"
    ]
    train_for(trainings, 4, taken.append)
    assert [(name, step) for name, step, _ in asked] == [("a", 0), ("b", 0), ("b", 1), ("a", 1), ("b", 2), ("b", 3)]
    assert {count for _, _, count in asked} == {1}
    assert torch.get_num_threads() == threads
    assert [(one.steps, one.tokens, one.seconds) for one in trainings] == [(2, 8, 4), (4, 16, 4)]
    assert taken == [2, 1, 1, 2, 1, 1]
    assert not any(one.network.training for one in trainings)
