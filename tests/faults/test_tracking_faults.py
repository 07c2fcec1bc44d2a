from __future__ import annotations

import logging
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from langmill.errors import TrackingError
from langmill.files import read_json
from langmill.tracking import shipping as tracking_shipping
from langmill.tracking.connection import connect, ensure_database
from langmill.tracking.run_log import RunLog
from langmill.tracking.runs import find_run
from langmill.tracking.sender import shipping
from langmill.tracking.shipping import ship
from tests.forked import Waiting, fork
from tests.refused import refused

pytestmark = pytest.mark.faults
URI = "sqlite:///.langmill/mlflow.db"


@pytest.fixture
def workspace(copy_database: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    copy_database(tmp_path)
    return tmp_path


@pytest.fixture
def nobody() -> Iterator[str]:
    """The address of a server that is not there."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    yield f"http://127.0.0.1:{port}"


def start(log: RunLog, provenance: str) -> None:
    log.start(experiment="reviews-lm", name="run", provenance=provenance, params={"a": 1}, tags={})


def losses(run_id: str) -> list[tuple[int, float]]:
    history = connect(URI).get_metric_history(run_id, "loss")
    return sorted((item.step, item.value) for item in history)


def test_a_dead_server_stops_nothing_and_loses_nothing(
    workspace: Path, nobody: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = workspace / "run"
    began = time.monotonic()
    with caplog.at_level(logging.WARNING), shipping(folder, nobody):
        log = RunLog(folder)
        start(log, "dead")
        for step in range(50):
            log.metrics({"loss": float(step)}, step)
    assert time.monotonic() - began < 60
    assert len([record for record in caplog.records if "Not all of the run is in MLflow yet" in record.message]) == 1
    assert "can't be reached" in caplog.text

    with refused(TrackingError, "unreachable", "Nothing is lost"):
        ship(folder, nobody)
    assert losses(ship(folder, URI)) == [(step, float(step)) for step in range(50)]


def test_a_locked_database_is_said_and_nothing_is_lost(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langmill.tracking.connection._PROBE_SECONDS", 0.2)
    folder = workspace / "run"
    log = RunLog(folder)
    start(log, "locked")
    log.metrics({"loss": 1.0}, 0)
    holder = sqlite3.connect(workspace / ".langmill" / "mlflow.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        with refused(TrackingError, "busy", "mlflow.db is locked", "Nothing is lost"):
            ship(folder, URI)
    finally:
        holder.execute("ROLLBACK")
        holder.close()
    assert losses(ship(folder, URI)) == [(0, 1.0)]


def test_a_file_that_is_no_database_is_said(workspace: Path) -> None:
    (workspace / ".langmill" / "mlflow.db").write_bytes(b"not a database, but some text that is long enough" * 20)
    with refused(TrackingError, "damaged", "mlflow.db"):
        connect(URI)


def test_a_foreign_database_is_left_alone(workspace: Path) -> None:
    path = workspace / ".langmill" / "mlflow.db"
    path.unlink()
    with sqlite3.connect(path) as foreign:
        foreign.execute("CREATE TABLE letters (a TEXT)")
    foreign.close()
    before = path.read_bytes()
    with refused(TrackingError, "unreadable", "mlflow.db"):
        connect(URI)
    assert path.read_bytes() == before


def test_processes_that_need_the_database_at_once_make_it_once(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    racers = [Waiting(lambda: ensure_database(uri)) for _ in range(3)]
    for racer in racers:
        racer.begin()
    assert [racer.end()[0] for racer in racers] == [0, 0, 0]
    assert connect(uri).search_experiments() != []
    assert [path.name for path in (tmp_path / "new").glob("mlflow.db*")] == ["mlflow.db"]


def test_kill_while_shipping_loses_and_doubles_nothing(workspace: Path) -> None:
    """The sender is killed after a batch has arrived and before it is noted, again and again."""
    folder = workspace / "run"
    log = RunLog(folder)
    start(log, "killed")
    for step in range(1300):
        log.metrics({"loss": float(step)}, step)
    write = tracking_shipping.write_json

    def dying(path: Path, state: dict[str, Any]) -> None:
        if state["offset"]:
            os.kill(os.getpid(), signal.SIGKILL)
        write(path, state)

    def ship_and_die() -> None:
        with mock.patch.object(tracking_shipping, "write_json", dying):
            ship(folder, URI)

    for _ in range(2):
        assert fork(ship_and_die) == -signal.SIGKILL
    run_id = find_run(connect(URI), "killed")
    assert run_id is not None
    assert losses(run_id) != []  # a batch had arrived each time
    assert ship(folder, URI) == run_id
    assert losses(run_id) == [(step, float(step)) for step in range(1300)]


def test_the_sender_outlives_a_killed_training_and_sends_the_rest(workspace: Path) -> None:
    code = textwrap.dedent(
        f"""
        import os, signal
        from pathlib import Path
        from langmill.tracking.run_log import RunLog
        from langmill.tracking.sender import shipping
        with shipping(Path("run"), {URI!r}):
            log = RunLog(Path("run"))
            log.start(experiment="reviews-lm", name="run", provenance="orphan", params={{}}, tags={{}})
            for step in range(20):
                log.metrics({{"loss": float(step)}}, step)
            os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    dead = subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    assert dead.returncode == -signal.SIGKILL
    size = (workspace / "run" / "events.jsonl").stat().st_size
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        state = workspace / "run" / "shipped.json"
        if state.is_file() and read_json(state)["offset"] == size:
            break
        time.sleep(0.2)
    run_id = find_run(connect(URI), "orphan")
    assert run_id is not None
    assert losses(run_id) == [(step, float(step)) for step in range(20)]


def test_the_sender_ends_with_the_block(workspace: Path) -> None:
    folder = workspace / "run"
    with shipping(folder, URI):
        log = RunLog(folder)
        start(log, "beside")
        log.finish()
    assert read_json(folder / "shipped.json")["offset"] == (folder / "events.jsonl").stat().st_size
    run_id = find_run(connect(URI), "beside")
    assert run_id is not None
    assert connect(URI).get_run(run_id).info.status == "FINISHED"
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    commands = [Path(f"/proc/{child}/cmdline").read_bytes() for child in children]
    assert not any(b"langmill.tracking" in command for command in commands)
