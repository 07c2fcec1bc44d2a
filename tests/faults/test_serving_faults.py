"""What goes wrong around a server: the port, the registry, the cache, the keys, a dead engine."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from langmill.registry.ledger import STOPPED
from langmill.registry.versions import CHALLENGER, State, Tag
from langmill.serving.keys import key_line
from tests.pipeline.served import Process, Workspace, wait_for

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def workspace(copy_database: Callable[[Path], None], tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    root = tmp_path_factory.mktemp("serving-faults")
    copy_database(root)
    made = Workspace(root)
    for seed in (1, 2):
        made.register("tiny-lm", "language_modelling", seed)
    made.register("tiny-judge", "classification", 1)
    made.promote("tiny-lm", 1)
    made.promote("tiny-judge", 1)
    return made


@pytest.fixture(scope="module")
def server(workspace: Workspace) -> Iterator[Process]:
    with workspace.serving() as process:
        yield process.until_ready()


@contextmanager
def registry_away(workspace: Workspace) -> Iterator[Path]:
    """The database is moved away, and put back afterwards."""
    database = workspace.root / ".langmill" / "mlflow.db"
    aside = database.with_name("aside.db")
    database.rename(aside)
    try:
        yield database
    finally:
        aside.replace(database)


def test_a_port_in_use_is_said_at_once(workspace: Workspace) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        began = time.monotonic()
        with workspace.serving(port=port) as process:
            assert process.exit_code() == 1
        assert f"Port {port} on 127.0.0.1 is in use by process {os.getpid()}" in process.output
        assert "serving.port" in process.output
        assert "Traceback" not in process.output
        assert time.monotonic() - began < 30


def test_a_signal_while_loading_ends_it_calmly(workspace: Workspace) -> None:
    with workspace.serving() as process:  # it has printed its address, and imports what is heavy
        process.signal(signal.SIGINT)
        assert process.exit_code() == 0
    assert "Traceback" not in process.output
    assert "Stopped" in process.output


def test_the_registry_may_go_while_serving_and_come_back(server: Process, workspace: Workspace) -> None:
    failures = 'langmill_registry_failures_total{model="tiny-lm"}'
    before = server.metric(failures)
    with registry_away(workspace) as database:
        wait_for(lambda: server.metric(failures) >= before + 2)
        assert server.complete().json()["version"] == 1
        assert server.classify("x").status_code == 200
        status, ready = server.ready()
        assert status == 200, "a server that answers is ready"
        assert "mlflow.db does not exist" in ready["models"]["tiny-lm"]["registry"]
        assert not database.exists(), "looking must not make a database"
    workspace.promote("tiny-lm", 2)
    wait_for(lambda: server.complete().json()["version"] == 2)
    workspace.promote("tiny-lm", 1)
    wait_for(lambda: server.complete().json()["version"] == 1)
    assert "registry" not in server.ready()[1]["models"]["tiny-lm"]


def test_a_version_whose_files_are_gone_changes_nothing(server: Process, workspace: Workspace) -> None:
    gone = workspace.register("tiny-judge", "classification", 7)
    shutil.rmtree(workspace.registered_file("tiny-judge", gone.version, "config.json").parent)
    workspace.promote("tiny-judge", gone.version)
    wait_for(lambda: "can't be fetched" in str(server.ready()[1]["models"]["tiny-judge"].get("registry")))
    assert server.classify("x").json()["version"] == 1
    workspace.promote("tiny-judge", 1)
    wait_for(lambda: "registry" not in server.ready()[1]["models"]["tiny-judge"])


def test_silent_sockets_do_not_stop_a_server_with_few_files(workspace: Workspace) -> None:
    """200 of them under `ulimit -n 128`, as anyone can open; their deadlines are far away."""
    with workspace.serving(header_seconds=600.0) as process:
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (128, 128))  # before the server counts its files
        process.until_ready()
        assert "Up to 64 connections at once" in process.output
        address = ("127.0.0.1", int(process.url.rpartition(":")[2]))
        silent = []
        try:
            for number in range(200):
                silent.append(socket.create_connection(address, timeout=5))
                if number % 3 == 1:
                    silent[-1].send(b"GET /live HTTP/1.1\r\nX-Slow: ")
            began = time.monotonic()
            for _ in range(2):  # each over a connection of its own, behind all the silent ones
                answer = httpx.post(
                    f"{process.url}/v1/classify", json={"model": "tiny-judge", "input": "x"}, timeout=15
                )
                assert answer.status_code == 200
            assert time.monotonic() - began < 15
            workspace.promote("tiny-lm", 2)  # there are files left for it
            wait_for(lambda: process.complete().json()["version"] == 2)
        finally:
            workspace.promote("tiny-lm", 1)
            for each in silent:
                each.close()
        assert process.metric('langmill_connections_closed_total{reason="crowded_out"}') >= 100


def test_keys_in_clear_are_refused_at_the_start(workspace: Workspace) -> None:
    keys = workspace.root / "clear"
    keys.write_text("open-sesame\n", encoding="utf-8")
    with workspace.serving(api_keys_file=str(keys)) as process:
        assert process.exit_code() == 1
    assert "langmill key --convert" in process.output
    assert "open-sesame" not in process.output


def test_a_page_of_a_foreign_name_gets_nothing(server: Process) -> None:
    """A browser whose name for this address is not one of the server's: DNS rebinding."""
    refused = server.client.get("/v1/models", headers={"host": "evil.example"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "host_not_allowed")


def test_a_second_server_with_keys_shares_the_workspace(server: Process, workspace: Workspace) -> None:
    keys = workspace.root / "keys"
    keys.write_text(f"{key_line('open-sesame')}\n", encoding="utf-8")
    with workspace.serving(api_keys_file=str(keys)) as second:
        second.until_ready()
        assert second.complete().status_code == 401
        assert "Authorization: Bearer KEY" in second.output
        assert "open-sesame" not in second.output
        second.client.headers["authorization"] = "Bearer open-sesame"
        for process in (server, second):
            assert process.complete().json()["version"] == 1


def test_starts_from_the_cache_without_a_registry_unless_it_is_damaged(server: Process, workspace: Workspace) -> None:
    weights = workspace.root / ".langmill" / "serving" / "tiny-lm" / "1" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    try:
        with registry_away(workspace), workspace.serving() as process:
            wait_for(lambda: "Ctrl-C" in process.output)
            status, ready = process.ready()
            assert status == 503
            assert any(reason.startswith("tiny-lm has no version in service") for reason in ready["reasons"])
            refused = process.complete()
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "model_not_ready")
            # The other one is whole.
            assert process.classify("x").json()["version"] == 1
            assert ready["models"]["tiny-judge"]["source"] == "cache"
            assert "in service (from the local cache, since the registry does not answer)." in process.output
            weights.write_bytes(whole)
            wait_for(lambda: process.ready()[0] == 200)
            assert process.complete().json()["version"] == 1
    finally:
        weights.write_bytes(whole)


def test_a_recipe_without_a_champion_is_waited_for(workspace: Workspace) -> None:
    with workspace.serving(recipes=["tiny-judge", "to-come"]) as process:
        wait_for(lambda: "Ctrl-C" in process.output)
        assert "to-come: nothing to serve yet" in process.output
        assert process.ready()[0] == 503
        assert process.classify("x").status_code == 200
        workspace.register("to-come", "language_modelling", 5)
        workspace.promote("to-come", 1)
        wait_for(lambda: process.ready()[0] == 200)
        assert process.complete(model="to-come").json()["version"] == 1


def test_a_challenger_that_answers_otherwise_than_allowed_leaves_live_traffic(workspace: Workspace) -> None:
    """The whole way: an alias, a canary, pairs, a breach, the mark, the ledger; and the champion answers all again."""
    other = workspace.register("tiny-lm", "language_modelling", 5)
    workspace.registry.note(other, {Tag.state: State.validated})
    workspace.registry.move_alias("tiny-lm", CHALLENGER, other.version, None)
    trial = {
        "mode": "canary", "share": 1.0, "min_pairs": 8, "max_pairs": 200, "confidence": 0.95, "max_more_errors": 0.01,
        "max_slowdown": 100.0, "max_other_answers": 0.1,
    }  # fmt: skip
    with workspace.serving(trial=trial) as server:
        server.until_ready()
        wait_for(lambda: f"version {other.version} is on trial" in server.output)
        greedy = {"temperature": 0.0, "repetition_penalty": 10.0}  # without it both repeat the prompt's last word
        assert server.complete(**greedy).json()["version"] == other.version
        wait_for(lambda: server.complete(**greedy).json()["version"] == 1)
        wait_for(lambda: f"tiny-lm version {other.version} was stopped; version 1 stays champion" in server.output)
    reason = workspace.registry.version("tiny-lm", other.version).tags[Tag.rolled_back]
    assert "of its answers differ from the other version's; 10.0% is allowed" in reason
    entry = workspace.registry.ledger.entries("tiny-lm")[-1]
    assert (entry.event, entry.target, entry.reason) == (STOPPED, other.version, reason)
    workspace.registry.move_alias("tiny-lm", CHALLENGER, None, other.version)
