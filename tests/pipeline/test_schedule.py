"""A schedule on a real Prefect server: it fires twice while a run lasts, and the runs do not overlap."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import sqlite3
import subprocess
import time
from itertools import pairwise
from pathlib import Path

import pytest

from tests.pipeline.workspace import LM, command, edit

pytestmark = [pytest.mark.pipeline, pytest.mark.slow, pytest.mark.timeout(900)]


def free_port() -> int:
    """A port that nobody listens on, of those that the system gives to nobody who asks for any: it stays free."""
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("every port is taken")


def runs(workspace: Path) -> list[tuple[str, str, str]]:
    """When each scheduled run began and ended, and how, in order; those at work included."""
    path = workspace / ".langmill/prefect/prefect.db"
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30) as database:
        return database.execute(
            "SELECT start_time, end_time, state_type FROM flow_run WHERE deployment_id IS NOT NULL "
            "AND start_time IS NOT NULL ORDER BY start_time"
        ).fetchall()


def test_a_schedule_that_fires_twice_runs_one_after_the_other(remade_workspace):
    edit(remade_workspace / "conf" / "operation" / "default.yaml", prefect_port=free_port())
    deploy = subprocess.Popen(
        command("deploy", "--interval", "3", LM), cwd=remade_workspace,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    log = remade_workspace / ".langmill" / "logs" / "schedule.log"
    try:
        end = time.monotonic() + 600
        while sum(state == "COMPLETED" for _, _, state in runs(remade_workspace)) < 2:
            assert deploy.poll() is None, deploy.communicate()
            assert time.monotonic() < end, log.read_text()[-3000:] if log.exists() else "no log"
            time.sleep(1)
    finally:
        deploy.send_signal(signal.SIGINT)
        out, errors = deploy.communicate(timeout=60)
    assert deploy.returncode == 0, errors
    assert f"{LM}: scheduled every 3 seconds." in out
    assert out.rstrip().endswith("Stopped.")
    done = runs(remade_workspace)
    for (_, ended, state), (began, _, _) in pairwise(done):
        assert state == "COMPLETED", log.read_text()[-3000:]
        assert ended <= began, "two runs overlapped"
    path = remade_workspace / ".langmill/prefect/prefect.db"
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        assert database.execute("SELECT name, paused FROM deployment").fetchall() == [("scheduled", 0)]
        waiting = database.execute("SELECT count(*) FROM flow_run WHERE state_type = 'SCHEDULED'").fetchone()[0]
    assert waiting >= 1, "the schedule itself stays"


def at_work(workspace: Path) -> list[str]:
    """The command lines of the processes that work in a workspace."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            with contextlib.suppress(OSError):
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if Path(os.readlink(folder / "cwd")).is_relative_to(workspace) and line:
                    found.append(line)
    return found


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes through /proc")
def test_kill_9_of_deploy_leaves_neither_worker_nor_server(remade_workspace):
    edit(remade_workspace / "conf" / "operation" / "default.yaml", prefect_port=free_port())
    deploy = subprocess.Popen(command("deploy", "--cron", "0 3 1 1 *", LM), cwd=remade_workspace, text=True,
                              stdout=subprocess.PIPE)  # fmt: skip
    assert deploy.stdout is not None
    said = ""
    while "Watch it at" not in said:
        line = deploy.stdout.readline()
        assert line, "deploy ended"
        said += line
    assert any("flows.schedule" in line for line in at_work(remade_workspace))
    assert any("prefect server" in line for line in at_work(remade_workspace))
    deploy.kill()
    deploy.wait()
    end = time.monotonic() + 15
    while left := at_work(remade_workspace):
        assert time.monotonic() < end, left
        time.sleep(0.2)
