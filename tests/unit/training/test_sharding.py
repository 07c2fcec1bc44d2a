"""Sharded trainings of two processes: the losses of one process, and checkpoints in parts that survive a kill.

Of many processes one runs by itself, with a group whose messages go nowhere: what it computes means nothing, but every
operation runs on the shapes that it would have there.
"""

from __future__ import annotations

import functools
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor
from torch.testing._internal.distributed.fake_pg import FakeStore

from langmill.config.sections import Training
from langmill.files import sweep
from langmill.models.base import build_backbone
from langmill.models.huggingface.adapters import prepare
from langmill.models.huggingface.settings import BaseKind, LoraSettings, PretrainedSettings, Tuning
from langmill.training import checkpoints, processes
from langmill.training.checkpoint_callback import CheckpointCallback
from langmill.training.checkpoints import newest_valid
from langmill.training.guard import StepMetrics
from langmill.training.module import TrainingModule
from langmill.training.sharding import full_state
from tests.unit.tasks.settings import shard, shipped_task, tiny_options, training

pytestmark = pytest.mark.unit
VOCAB_SIZE, LENGTH, STEPS, SAVED = 40, 12, 6, 3
SHAPE = {"num_layers": 3, "hidden_dim": 33}  # 21 matrices, some with an odd number of rows: uneven shares for two
CASES: dict[str, dict[str, Any]] = {
    "adamw": {"name": "adamw"},
    "muon": {"name": "muon"},
    "recomputed": {"name": "muon", "activation_checkpointing": True},
    "products in bf16": {"name": "adamw", "precision": "bf16"},
    "weights in bf16": {"name": "muon", "precision": "bf16", "weights": "bf16"},
}
OF_MANY = CASES | {
    "an adapter in fp32 beside weights in bf16": {"name": "adamw", "precision": "bf16", "weights": "bf16"}
}
LORA = LoraSettings(rank=2, alpha=4.0, dropout=0.0, targets=["all-linear"])
MANY = 16  # more than the rows of an adapter's matrices, and no divisor of 33


class NoValidation:
    """Nothing that a checkpoint must hold."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert state == {}


def settings_of(case: str, size: int) -> Training:
    changes = dict(OF_MANY[case])
    optimizer = training().optimizer
    values = {name: getattr(optimizer, name) for name in optimizer.__dataclass_fields__}
    values |= {"name": changes.pop("name"), "warmup_steps": 2}
    return training(
        optimizer=values,
        steps=STEPS,
        batch_size=max(8, 2 * size),
        micro_batch_size=max(1, 4 // size),
        block_length=LENGTH,
        threads=1,
        **changes,
    )  # two micro-batches a step


def begin(case: str, rank: int, size: int, *, sharded: bool) -> tuple[TrainingModule, Any]:
    """A training before its first step, and its batches; `sharded` needs a group of processes."""
    torch.set_num_threads(1)
    settings = settings_of(case, size)
    torch.manual_seed(1)
    task = shipped_task("language_modelling")
    network = task.network(
        build_backbone("decoder", tiny_options() | SHAPE | {"dropout": 0.0}, VOCAB_SIZE, LENGTH, "t")
    )
    random = np.random.default_rng(1)
    data = shard([random.integers(2, VOCAB_SIZE, 30).tolist() for _ in range(20)])
    batches = task.micro_batches(data, settings, rank=rank, world_size=size, eot_id=0)
    if "adapter" in case:
        base = list(network.parameters())
        prepare(network, network.model, base, PretrainedSettings(BaseKind.auto, Tuning.lora, LORA, {}))
    bf16 = settings.precision.value == "bf16"
    module = TrainingModule(network, task, settings, lambda *_: batches, bf16=bf16, sharded=sharded)
    strategy = SimpleNamespace(model=None, pre_backward=lambda _: None, post_backward=lambda _: None)
    module._trainer = SimpleNamespace(strategy=strategy, is_global_zero=rank == 0, global_rank=rank)
    if sharded:
        module._device_mesh = {"data_parallel": init_device_mesh("cpu", (size,))}
    module.configure_model()
    module.configure_optimizers()
    return module, batches


def learn(module: TrainingModule, batches: Any, after: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Make the steps that are left; the losses, norms and weights."""
    accumulation = module.training_settings.batch_size // (
        module.training_settings.micro_batch_size * (dist.get_world_size() if dist.is_initialized() else 1)
    )
    for step in range(module.step, STEPS):
        items = [batches[index] for index in range(step * accumulation, (step + 1) * accumulation)]
        module._num_targets = [module.objective.task.num_targets(item) for item in items]
        chosen = torch.tensor(module._num_targets)
        module._make_step(items, [float(chosen.sum() / value) for value in chosen])
        after()
    return {
        "losses": processes.mean(torch.stack(module.losses).float()),
        "norms": torch.stack(module.norms).float(),
        "weights": full_state(module.network),
    }


def callback_of(module: TrainingModule, folder: Path) -> CheckpointCallback:
    validation: Any = NoValidation()
    return CheckpointCallback(module.training_settings, folder, StepMetrics(), validation)


def process_of(rank: int, size: int, folder: Path, work: Callable[[int, int, Path], None]) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=size)
    work(rank, size, folder)
    dist.destroy_process_group()


def run(size: int, folder: Path, work: Callable[[int, int, Path], None]) -> list[int | None]:
    """Run processes that meet in a folder; their exit codes."""
    # Forked processes need not import everything anew; where torch has threads for a GPU, none can be forked.
    context: Any = torch.multiprocessing.get_context("spawn" if torch.cuda.is_available() else "fork")
    started = [context.Process(target=process_of, args=(rank, size, folder, work)) for rank in range(size)]
    for process in started:
        process.start()
    for process in started:
        process.join(240)
    return [process.exitcode for process in started]


def save_in_the_middle(module: TrainingModule, folder: Path) -> None:
    if module.step == SAVED:
        callback_of(module, folder).save(module._trainer, module)  # type: ignore[arg-type]


def every_case(rank: int, size: int, folder: Path) -> None:
    """Each case's training; and one that is saved in the middle, and gone on with by another."""
    found = {}
    for case in CASES:
        checkpoint = folder / case

        module, batches = begin(case, rank, size, sharded=True)
        found[case] = learn(module, batches, functools.partial(save_in_the_middle, module, checkpoint))
        resumed, batches = begin(case, rank, size, sharded=True)
        callback_of(resumed, checkpoint).on_fit_start(resumed._trainer, resumed)  # type: ignore[arg-type]
        assert resumed.step == SAVED
        found[f"{case}, resumed"] = learn(resumed, batches)
    if rank == 0:
        torch.save(found, folder / f"{size}.pt")


@pytest.fixture(scope="module", params=[1, 2])
def sharded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Results of all cases, with one process and with two."""
    folder = tmp_path_factory.mktemp("sharded")
    size: int = request.param
    assert run(size, folder, every_case) == [0] * size
    found: dict[str, dict[str, Any]] = torch.load(folder / f"{size}.pt")
    for case in CASES:
        parts = sorted(path.name for path in next((folder / case).glob("*.ckpt")).iterdir())
        assert parts == [f"process-{rank:05}.ckpt" for rank in range(size)]
    return found


@pytest.mark.parametrize("case", CASES)
def test_shards_learn_what_one_process_learns(sharded: dict[str, dict[str, Any]], case: str) -> None:
    alone = learn(*begin(case, 0, 1, sharded=False))
    rounding = 2e-2 if "bf16" in case else 1e-5
    assert torch.allclose(sharded[case]["losses"], alone["losses"], rtol=rounding)
    weights = sharded[case]["weights"]
    assert weights.keys() == alone["weights"].keys()
    if "bf16" not in case:
        assert torch.allclose(sharded[case]["norms"], alone["norms"], rtol=1e-3)
        assert all(torch.allclose(weights[name], value, atol=1e-4) for name, value in alone["weights"].items())
    assert len(set(alone["losses"].tolist())) == STEPS  # each step changed something


@pytest.mark.parametrize("case", CASES)
def test_a_resumed_training_ends_with_the_same_bytes(sharded: dict[str, dict[str, Any]], case: str) -> None:
    whole, resumed = sharded[case]["weights"], sharded[f"{case}, resumed"]["weights"]
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.fixture(params=[0, MANY - 1])
def one_of_many(request: pytest.FixtureRequest) -> Iterator[int]:
    """The number of this process in a group of many, of which no other is there."""
    rank: int = request.param
    dist.init_process_group("fake", rank=rank, world_size=MANY, store=FakeStore())
    yield rank
    dist.destroy_process_group()


@pytest.mark.parametrize("case", OF_MANY)
def test_a_process_of_many_makes_its_steps(one_of_many: int, case: str) -> None:
    """Also where there are more processes than a matrix has rows, so that the last has none of it."""
    module, batches = begin(case, one_of_many, MANY, sharded=True)
    weights = {name: weight for name, weight in module.network.named_parameters() if isinstance(weight, DTensor)}
    assert len(weights) == len(list(module.network.parameters()))
    frozen = {name: weight.to_local().clone() for name, weight in weights.items() if not weight.requires_grad}
    assert bool(frozen) == ("adapter" in case)
    learn(module, batches)
    assert len(module.losses) == STEPS
    for name, weight in weights.items():
        rows = torch.arange(weight.shape[0]).chunk(MANY)
        own = len(rows[one_of_many]) if one_of_many < len(rows) else 0
        assert weight.to_local().shape == (own, *weight.shape[1:]), name
        assert weight.dtype == (torch.bfloat16 if "weights" in case and "lora_" not in name else torch.float32)
    assert all(weights[name].to_local().equal(value) for name, value in frozen.items())


def killed_while_saving(rank: int, size: int, folder: Path) -> None:
    """Save once; the second time one of the processes is killed: which one and where, a file says."""
    place = (folder / "place").read_text()
    module, batches = begin("muon", rank, size, sharded=True)
    write, finish = checkpoints._write_part, checkpoints._finish

    def writing(temporary: Path, state: dict[str, Any]) -> tuple[str, str]:
        if place == "before a part is written" and rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        found = write(temporary, state)
        if place == "after a part is written" and rank == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    def finishing(path: Path, digest: str) -> None:
        if place == "before the digest is written":
            os.kill(os.getpid(), signal.SIGKILL)
        finish(path, digest)

    def save() -> None:
        if module.step == SAVED + 1:
            checkpoints._write_part, checkpoints._finish = writing, finishing
        if module.step >= SAVED:
            callback_of(module, folder / "checkpoints").save(module._trainer, module)  # type: ignore[arg-type]

    learn(module, batches, save)


@pytest.mark.parametrize(
    "place", ["before a part is written", "after a part is written", "before the digest is written"]
)
def test_killed_while_saving_the_checkpoint_before_counts(place: str, tmp_path: Path) -> None:
    (tmp_path / "place").write_text(place)
    codes = run(2, tmp_path, killed_while_saving)
    assert -signal.SIGKILL in codes
    assert 0 not in codes  # the other one can't go on alone
    folder = tmp_path / "checkpoints"
    sweep(folder)
    found = newest_valid(folder)
    assert found is not None
    assert found.name == f"step-{SAVED:08}.ckpt"
    assert not list(folder.glob(".*"))


def full_disk(rank: int, size: int, folder: Path) -> None:
    """Save on a disk that is full for the second process."""
    module, _ = begin("adamw", rank, size, sharded=True)
    if rank == 1:

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        torch.save = full
    try:
        callback_of(module, folder / "checkpoints").save(module._trainer, module)  # type: ignore[arg-type]
    except Exception as error:
        (folder / f"{rank}.error").write_text(type(error).__name__)


def test_a_full_disk_of_one_process_is_told_to_all(tmp_path: Path) -> None:
    assert run(2, tmp_path, full_disk) == [0, 0]
    assert [(tmp_path / f"{rank}.error").read_text() for rank in range(2)] == ["SpaceError"] * 2
    assert list((tmp_path / "checkpoints").iterdir()) == []


def last_collective(rank: int, size: int, folder: Path) -> None:
    """Come later with the first process than with the second."""
    if rank == 0:
        time.sleep(0.3)
        (folder / "came").touch()
    processes.wait_for_all()
    assert (folder / "came").exists()


def test_no_process_ends_before_all_have_what_they_need_of_it(tmp_path: Path) -> None:
    assert run(2, tmp_path, last_collective) == [0, 0]
