"""The loss of a step: the sum over its targets divided by their number, over all micro-batches and processes."""

from __future__ import annotations

import contextlib
import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from langmill.models.base import build_backbone
from langmill.models.heads import LanguageModel
from langmill.tasks.base import Task
from langmill.tasks.masked_language_modelling import MASK
from langmill.training import processes
from langmill.training.module import Objective, TrainingModule, step_divisors
from tests.unit.tasks.settings import shard, shipped_task, tiny_backbone, tiny_options, training

pytestmark = pytest.mark.unit
VOCAB_SIZE, LENGTH, BATCH_SIZE = 40, 24, 16
CPU = torch.device("cpu")
KINDS = ["language_modelling", "completion", "masked_language_modelling", "classification", "class weights"]


class Given(nn.Module):
    """A task whose loss and number of targets stand in the batch."""

    def loss(self, network: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return network(batch["loss"][None]).sum()

    def num_targets(self, batch: dict[str, torch.Tensor]) -> float:
        return float(batch["targets"])


def test_a_step_counts_its_targets_and_not_its_micro_batches() -> None:
    network = nn.Linear(1, 1, bias=False)
    nn.init.ones_(network.weight)
    settings = training(batch_size=2, micro_batch_size=1)
    module = TrainingModule(network, Given(), settings, lambda *_: None, bf16=False, sharded=False)
    strategy = SimpleNamespace(model=None, pre_backward=lambda _: None, post_backward=lambda _: None)
    module._trainer = SimpleNamespace(strategy=strategy)
    module.configure_optimizers()
    batch = [
        {"loss": torch.tensor(loss), "targets": torch.tensor(n), "lengths": torch.ones(1)}
        for loss, n in ((1.0, 1), (3.0, 99))
    ]
    module.training_step(module.transfer_batch_to_device(batch, CPU, 0), 0)
    assert module.losses[0].item() == pytest.approx(2.98)
    assert module.norms[0].item() == pytest.approx(2.98)


def test_equal_counts_are_divided_by_the_accumulation_alone() -> None:
    assert step_divisors([8192] * 6, 3, CPU) == [3.0] * 6
    assert step_divisors([7], 1, CPU) == [1.0]
    assert step_divisors([], 2, CPU) == []
    assert step_divisors([0, 5, 0, 0], 2, CPU) == [float("inf"), 1.0, float("inf"), float("inf")]


def material(kind: str) -> tuple[Task, nn.Module, Any]:
    """A task, its network and a shard on which micro-batches have unequal numbers of targets."""
    torch.manual_seed(1)
    random = np.random.default_rng(1)
    documents = [random.integers(2, VOCAB_SIZE, size).tolist() for size in random.integers(2, 20, 80)]
    data = shard(documents, ["rare" if number % 9 == 0 else "common" for number in range(80)])
    data.vocab_size, data.special_ids = VOCAB_SIZE, {MASK: 1}
    if kind == "completion":
        task = shipped_task(kind)
        splits = random.integers(1, data.lengths)
        data.part_lengths = lambda _: np.stack([splits, data.lengths - splits], axis=1)
    elif kind in ("classification", "class weights"):
        weights = "balanced" if kind == "class weights" else "none"
        task = shipped_task("classification", ("common", "rare"), class_weights=weights, dropout=0.0)
    else:
        task = shipped_task(kind)
    if kind == "masked_language_modelling":
        backbone = build_backbone("encoder", tiny_options() | {"dropout": 0.0}, VOCAB_SIZE, LENGTH, "test")
    else:
        backbone = tiny_backbone(VOCAB_SIZE, LENGTH)
    return task, task.network(backbone), data


def gradients(kind: str, micro_batch_size: int, rank: int = 0, world_size: int = 1) -> tuple[float, torch.Tensor]:
    """The loss of the second step and its gradients, as the training makes them."""
    torch.set_num_threads(1)
    task, network, data = material(kind)
    settings = training(batch_size=BATCH_SIZE, micro_batch_size=micro_batch_size, block_length=LENGTH)
    accumulation = BATCH_SIZE // (micro_batch_size * world_size)
    batches = task.micro_batches(data, settings, rank=rank, world_size=world_size, eot_id=0)
    chosen = [batches[index] for index in range(accumulation, 2 * accumulation)]
    divisors = step_divisors([task.num_targets(batch) for batch in chosen], accumulation, CPU)
    objective: Any = Objective(network, task)
    if world_size > 1:
        objective = DistributedDataParallel(objective)
    total = torch.zeros(())
    for number, (batch, divisor) in enumerate(zip(chosen, divisors, strict=True), start=1):
        alone = world_size == 1 or number == accumulation
        with contextlib.nullcontext() if alone else objective.no_sync():
            loss = objective(batch) / divisor
            loss.backward()
        total += loss.detach()
    flat = torch.cat([weight.grad.flatten() for weight in network.parameters() if weight.grad is not None])
    return processes.mean(total).item(), flat


def of_one_process(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    found = {kind: gradients(kind, 4, rank, 2) for kind in KINDS}
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[float, torch.Tensor]]:
    folder = tmp_path_factory.mktemp("two")
    # Forked processes need not import everything anew; where torch has threads for a GPU, none can be forked.
    method = "spawn" if torch.cuda.is_available() else "fork"
    torch.multiprocessing.start_processes(of_one_process, (str(folder),), nprocs=2, start_method=method)
    one, other = (torch.load(folder / f"{rank}.pt") for rank in range(2))
    assert all(torch.equal(one[kind][1], other[kind][1]) for kind in KINDS)
    found: dict[str, tuple[float, torch.Tensor]] = one
    return found


def analytic(kind: str) -> float:
    """The second step's loss: every target of its sixteen examples once, each with its weight."""
    task, network, data = material(kind)
    settings = training(batch_size=BATCH_SIZE, micro_batch_size=1, block_length=LENGTH)
    batches = task.micro_batches(data, settings, rank=0, world_size=1, eot_id=0)
    chosen = [batches[index] for index in range(BATCH_SIZE, 2 * BATCH_SIZE)]
    with torch.no_grad():
        sums = [(float(task.loss(network, batch)) * (n := task.num_targets(batch)), n) for batch in chosen]
    return sum(nats for nats, _ in sums) / sum(n for _, n in sums)


@pytest.mark.parametrize("kind", KINDS)
def test_accumulation_and_processes_change_nothing_but_rounding(
    kind: str, of_two: dict[str, tuple[float, torch.Tensor]]
) -> None:
    loss, expected = gradients(kind, BATCH_SIZE)
    assert loss == pytest.approx(analytic(kind), rel=1e-5)
    for found_loss, found in (gradients(kind, 4), gradients(kind, 1), of_two[kind]):
        assert found_loss == pytest.approx(loss, rel=1e-5)
        assert torch.allclose(found, expected, rtol=1e-3, atol=1e-6)


def test_a_head_with_a_bias_has_a_loss_where_nothing_is_to_be_predicted() -> None:
    network = LanguageModel(tiny_backbone(VOCAB_SIZE, LENGTH))
    network.lm_head = nn.Linear(16, VOCAB_SIZE)
    other = copy.deepcopy(network)
    tokens = torch.ones(2, 5, dtype=torch.long)
    assert network.loss(tokens, torch.full_like(tokens, -1)).item() == 0
    targets = torch.tensor([[3, -1, -1, 4, -1], [-1, -1, -1, -1, 5]])
    hidden = other.model(tokens)[targets >= 0]
    expected = nn.functional.cross_entropy(other.head(hidden), targets[targets >= 0])
    assert network.loss(tokens, targets).item() == pytest.approx(expected.item(), rel=1e-6)
