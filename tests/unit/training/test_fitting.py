"""Lightning's trainer: the processes that it starts meet at a port that is held for them.

Groups are begun in processes of their own: torch counts those of a process, one that failed to begin among them, and
other tests go by the number.
"""

from __future__ import annotations

import dataclasses
import os
import socket
from datetime import timedelta

import pytest
import pytorch_lightning as pl
import torch.distributed as dist

from langmill.config.compose import compose_recipe
from langmill.config.sections import Strategy, Training
from langmill.errors import TransientError
from langmill.training.fitting import OF_A_LAUNCHER, build_trainer, meeting_point
from tests.forked import fork
from tests.refused import refused
from tests.unit.training.material import RECIPES, REPOSITORY

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def training() -> Training:
    composed = compose_recipe("reviews-lm", RECIPES["reviews-lm"], REPOSITORY / "conf").training
    return dataclasses.replace(composed, devices=2, micro_batch_size=4)


@pytest.fixture(autouse=True)
def nobody_has_started_it(monkeypatch):
    for name in OF_A_LAUNCHER:
        monkeypatch.setenv(name, "")  # so that what is set in the test is taken back
        monkeypatch.delenv(name)


@pytest.mark.parametrize("strategy", [Strategy.ddp, Strategy.fsdp])
def test_the_port_at_which_processes_meet_is_taken_before_they_start(training, strategy):
    trainer = build_trainer(dataclasses.replace(training, strategy=strategy), "cpu", [])
    with meeting_point(trainer):
        assert os.environ["TORCHELASTIC_USE_AGENT_STORE"] == "True"
        port = int(os.environ["MASTER_PORT"])
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        assert trainer.strategy.cluster_environment.main_port == port


def test_a_process_trains_a_second_time(training):
    """Its store outlives the training, as its process group does, and the next one finds the environment as it was."""
    alone = dataclasses.replace(training, devices=1, strategy=Strategy.fsdp)

    def train_twice() -> None:
        before = dict(os.environ)
        for _ in range(2):
            trainer = build_trainer(alone, "cpu", [])
            trainer.strategy.connect(pl.LightningModule())
            trainer.strategy._configure_launcher()
            with meeting_point(trainer) as store:
                assert store is not None
                trainer.strategy.launcher._call_children_scripts()
                trainer.strategy.setup_environment()
                assert os.environ["LOCAL_RANK"] == "0"
            assert os.environ == before
            dist.barrier()
            dist.destroy_process_group()
            del store

    assert fork(train_twice) == 0


def test_processes_that_do_not_come_are_told(training):
    with (
        refused(TransientError, "unreachable", "can't reach each other", "1/2 clients joined"),
        meeting_point(build_trainer(training, "cpu", [])),
    ):
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "LOCAL_RANK": "0"}  # as Lightning does
        dist.TCPStore("127.0.0.1", 0, 2, is_master=True, timeout=timedelta(seconds=1))
    assert not os.environ.keys() & OF_A_LAUNCHER


@pytest.mark.parametrize("given", [{"LOCAL_RANK": "1"}, {"MASTER_PORT": "29500"}, {"MASTER_ADDR": "127.0.0.1"}])
def test_a_port_of_whoever_starts_the_processes_stays(training, monkeypatch, given):
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with meeting_point(build_trainer(training, "cpu", [])):
        assert {name: os.environ[name] for name in OF_A_LAUNCHER if name in os.environ} == given


def test_a_lone_process_takes_no_port(training):
    with meeting_point(build_trainer(dataclasses.replace(training, devices=1), "cpu", [])):
        assert "MASTER_PORT" not in os.environ


def test_a_port_that_another_program_has_is_named(training, monkeypatch):
    def begin() -> None:
        with refused(TransientError, "unreachable", *said), meeting_point(trainer):
            trainer.strategy.setup_environment()

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for name, value in {"LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}.items():
            monkeypatch.setenv(name, value)
        trainer = build_trainer(training, "cpu", [])
        said = f"can't reach each other at 127.0.0.1:{port}", "address already in use", "another program has that port"
        assert fork(begin) == 0
