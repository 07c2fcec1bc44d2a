from __future__ import annotations

import contextlib
import errno
import logging
import shutil
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException

from langmill import tracking
from langmill.errors import SpaceError, TrackingError, TrackingUnreachableError, TransientError
from langmill.files import read_json
from langmill.tracking import (
    RunLog,
    artifact_root,
    connect,
    database_path,
    end_killed_runs,
    ensure_database,
    explained_tracking_errors,
    find_run,
    flatten,
    read_events,
    resolved_uri,
    ship,
    shipping,
)

pytestmark = pytest.mark.unit
URI = "sqlite:///.langmill/mlflow.db"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tracking")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        ensure_database(URI)
    shutil.copy(folder / ".langmill" / "mlflow.db", folder / "empty.db")
    return folder


@pytest.fixture
def workspace(database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(database)
    return database


def start(log: RunLog, provenance: str = "abc123", **params: object) -> None:
    log.start(experiment="reviews-lm", name="run", provenance=provenance, params=params, tags={"langmill.recipe": "r"})


def events_of(folder: Path) -> list[dict[str, object]]:
    return read_events(folder / "events.jsonl", 0)[0]


# The run's own file


def test_a_resumed_run_logs_nothing_twice(tmp_path: Path) -> None:
    first = RunLog(tmp_path)
    start(first, seed=1)
    for step in range(5):
        first.metrics({"loss": 5.0 - step, "rate": 0.1}, step)
    first.text("once upon", "samples/4.txt")
    before = (tmp_path / "events.jsonl").read_bytes()

    second = RunLog(tmp_path)
    start(second, seed=1)
    for step in range(3, 5):
        second.metrics({"loss": 5.0 - step, "rate": 0.1}, step)
    second.text("once upon", "samples/4.txt")
    assert (tmp_path / "events.jsonl").read_bytes() == before

    second.metrics({"loss": 0.0, "accuracy": 0.5}, 4)  # loss of step 4 is there, accuracy is not
    assert events_of(tmp_path)[-1]["values"] == {"accuracy": 0.5}


def test_a_half_written_line_is_cut_off(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    log.metrics({"loss": 1.0}, 0)
    path = tmp_path / "events.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"kind":"metrics","step":1,"val')
    assert read_events(path, 0)[1] == len(whole)

    RunLog(tmp_path).metrics({"loss": 0.5}, 1)
    assert [event["values"] for event in events_of(tmp_path)] == [{"loss": 1.0}, {"loss": 0.5}]


def test_a_line_that_is_no_event_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = RunLog(tmp_path)
    log.metrics({"loss": 1.0}, 0)
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(b"\0\0\0\0\n")
    log.metrics({"loss": 0.5}, 1)
    assert [event["step"] for event in events_of(tmp_path)] == [0, 1]
    assert "is not an event" in caplog.text


def test_figures_that_are_not_finite_are_kept_as_words(tmp_path: Path) -> None:
    RunLog(tmp_path).metrics({"loss": float("nan"), "norm": float("inf"), "rate": -float("inf")}, 7)
    assert events_of(tmp_path)[0]["values"] == {"loss": "nan", "norm": "inf", "rate": "-inf"}


def test_artifacts_outlive_their_originals(tmp_path: Path) -> None:
    report = tmp_path / "report"
    (report / "plots").mkdir(parents=True)
    (report / "a.md").write_text("A")
    (report / "plots" / "b.csv").write_text("B")
    log = RunLog(tmp_path / "run")
    log.artifact(report, "evaluation")
    log.artifact(report / "a.md", "")
    (report / "a.md").unlink()
    names = [event["name"] for event in events_of(tmp_path / "run")]
    assert names == ["evaluation/a.md", "evaluation/plots/b.csv", "a.md"]
    assert (tmp_path / "run" / "files" / "a.md").read_text() == "A"


def test_an_artifact_is_logged_again_only_when_it_changed(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    for text in ("one", "one", "two"):
        log.text(text, "note.txt")
    assert len(events_of(tmp_path)) == 2


def test_a_run_ends_once(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    log.fail("the loss is not a number")
    log.finish()
    log.finish()
    RunLog(tmp_path).finish()
    assert [event["status"] for event in events_of(tmp_path)] == ["FAILED", "FINISHED"]


@pytest.mark.parametrize(
    ("raised", "status", "reason"),
    [
        (None, "FINISHED", None),
        (TrackingError("A sentence."), "FAILED", "A sentence."),
        (MemoryError("no memory"), "FAILED", "MemoryError: no memory"),
        (KeyError("bug"), "FAILED", "KeyError: 'bug'"),
        (KeyboardInterrupt(), "KILLED", "It was interrupted."),
        (SystemExit(1), "KILLED", "It was interrupted."),
    ],
)
def test_every_end_is_told(tmp_path: Path, raised: BaseException | None, status: str, reason: str | None) -> None:
    log = RunLog(tmp_path)
    with contextlib.suppress(TrackingError, MemoryError, KeyError, KeyboardInterrupt, SystemExit), log.told():
        start(log)
        if raised is not None:
            raise raised
    assert log.status == status
    (end,) = [event for event in events_of(tmp_path) if event["kind"] == "finish"]
    assert (end["status"], end.get("reason")) == (status, reason)


def test_a_run_that_goes_on_is_running_again(workspace: Path, tmp_path: Path) -> None:
    with contextlib.suppress(KeyboardInterrupt), (log := RunLog(tmp_path)).told():
        start(log, "goes-on")
        raise KeyboardInterrupt
    run_id = ship(tmp_path, URI)
    assert connect(URI).get_run(run_id).info.status == "KILLED"
    with (log := RunLog(tmp_path)).told():
        start(log, "goes-on")
        ship(tmp_path, URI)
        assert connect(URI).get_run(run_id).info.status == "RUNNING"
    ship(tmp_path, URI)
    assert connect(URI).get_run(run_id).info.status == "FINISHED"


def test_a_killed_run_is_ended_by_the_next_start_and_a_living_one_is_not(tmp_path: Path) -> None:
    program = "import os; from pathlib import Path; from langmill.tracking import RunLog\n"
    program += "log = RunLog(Path('killed')); told = log.told(); told.__enter__()\n"
    program += "log.start(experiment='e', name='n', provenance='p', params={}, tags={})\nos._exit(9)"
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=False)
    start(RunLog(tmp_path / "of an evaluation"))
    with (living := RunLog(tmp_path / "living")).told():
        start(living)
        assert end_killed_runs(tmp_path) == [tmp_path / "killed"]
        assert end_killed_runs(tmp_path) == []
    assert RunLog(tmp_path / "killed").status == "KILLED"
    assert RunLog(tmp_path / "living").status == "FINISHED"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), TrackingUnreachableError),
        (TimeoutError("timed out"), TrackingUnreachableError),
        (OSError(errno.EHOSTUNREACH, "No route to host"), TrackingUnreachableError),
        (sqlite3.OperationalError("database is locked"), TrackingUnreachableError),
        (PermissionError(errno.EACCES, "Permission denied"), TrackingError),
        (sqlite3.OperationalError("unable to open database file"), TrackingError),
        (sqlite3.DatabaseError("file is not a database"), TrackingError),
    ],
)
def test_only_what_may_pass_is_transient(error: Exception, kind: type[Exception]) -> None:
    with pytest.raises(TrackingError) as caught, explained_tracking_errors("http://me:secret@server:5000"):
        raise error
    assert type(caught.value) is kind
    assert "secret" not in str(caught.value)


def test_a_password_is_written_to_no_file(workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server's address with user and password: whoever answers, its note of what was sent holds neither."""
    uri = "http://me:secret@server:5000/path"
    log = RunLog(tmp_path)
    start(log, "with-a-password")
    client = connect(URI)
    monkeypatch.setattr(tracking, "connect", lambda _: client)
    run_id = ship(tmp_path, uri)
    assert read_json(tmp_path / "shipped.json") == {
        "tracking_uri": "http://server:5000/path",
        "run_id": run_id,
        "offset": (tmp_path / "events.jsonl").stat().st_size,
    }
    assert ship(tmp_path, uri) == run_id


def test_nested_settings_get_dotted_names() -> None:
    assert flatten({"a": {"b": {"c": 1}}, "d": [1, 2], "e": {}}) == {"a.b.c": 1, "d": [1, 2]}


# Addresses


def test_a_relative_database_lies_in_the_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert database_path(URI) == tmp_path / ".langmill" / "mlflow.db"
    assert resolved_uri(URI) == f"sqlite:///{tmp_path}/.langmill/mlflow.db"
    assert resolved_uri(resolved_uri(URI)) == resolved_uri(URI)
    assert artifact_root(URI) == tmp_path / ".langmill" / "artifacts"
    assert database_path("http://localhost:5000") is None
    assert resolved_uri("http://localhost:5000") == "http://localhost:5000"
    assert artifact_root("http://localhost:5000") is None


# Shipping


def test_everything_arrives_and_only_once(workspace: Path, tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    start(log, "first", optimizer={"name": "adamw"}, steps=3)
    for step in range(1200):  # more than two batches
        log.metrics({"loss": 1 / (step + 1)}, step)
    log.metrics({"norm": float("inf")}, 3)
    log.text("hello", "samples/3.txt")
    log.dataset("reviews", "d" * 64, "a package", "training")
    log.finish()

    run_id = ship(tmp_path, URI)
    assert ship(tmp_path, URI) == run_id
    (tmp_path / "shipped.json").unlink()  # as after a crash before the first note of what had been sent
    assert ship(tmp_path, URI) == run_id

    client = connect(URI)
    run = client.get_run(run_id)
    history = client.get_metric_history(run_id, "loss")
    assert sorted((item.step, item.value) for item in history) == [(step, 1 / (step + 1)) for step in range(1200)]
    assert "norm" not in run.data.metrics
    assert run.data.tags["langmill.not_finite.norm"] == "inf at step 3"
    assert run.data.params == {"optimizer.name": "adamw", "steps": "3"}
    assert run.data.tags["langmill.provenance"] == "first"
    assert run.info.status == "FINISHED"
    assert run.info.artifact_uri == (workspace / f".langmill/artifacts/reviews-lm/{run_id}/artifacts").as_uri()
    assert (workspace / f".langmill/artifacts/reviews-lm/{run_id}/artifacts/samples/3.txt").read_text() == "hello"
    assert [item.dataset.name for item in run.inputs.dataset_inputs] == ["reviews"]
    assert find_run(URI, "first") == run_id
    assert find_run(URI, "another") is None


def test_what_is_logged_later_goes_into_the_same_run(workspace: Path, tmp_path: Path) -> None:
    training, evaluation = RunLog(tmp_path / "training"), RunLog(tmp_path / "evaluation")
    start(training, "shared", steps=3)
    training.metrics({"loss": 1.0}, 0)
    start(evaluation, "shared", steps=4)
    evaluation.metrics({"test/accuracy": 0.9}, 0)
    run_id = ship(tmp_path / "training", URI)
    assert ship(tmp_path / "evaluation", URI) == run_id
    run = connect(URI).get_run(run_id)
    assert run.data.metrics == {"loss": 1.0, "test/accuracy": 0.9}
    assert run.data.params == {"steps": "3"}  # MLflow lets no parameter change
    assert run.data.tags["langmill.later.steps"] == "4"


def test_a_run_that_was_deleted_is_made_again(workspace: Path, tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    start(log, "deleted")
    log.metrics({"loss": 1.0}, 0)
    first = ship(tmp_path, URI)
    connect(URI).delete_run(first)
    second = ship(tmp_path, URI)
    assert second != first
    assert connect(URI).get_run(second).data.metrics == {"loss": 1.0}


def test_another_server_gets_all_of_it(workspace: Path, tmp_path: Path) -> None:
    log = RunLog(tmp_path / "run")
    start(log, "moved")
    log.metrics({"loss": 1.0}, 0)
    ship(tmp_path / "run", URI)
    (tmp_path / "other").mkdir()
    shutil.copy(workspace / "empty.db", tmp_path / "other" / "mlflow.db")
    other = f"sqlite:///{tmp_path}/other/mlflow.db"
    run_id = ship(tmp_path / "run", other)
    assert connect(other).get_run(run_id).data.metrics == {"loss": 1.0}
    assert read_json(tmp_path / "run" / "shipped.json")["tracking_uri"] == other


def test_nothing_logged_is_said(workspace: Path, tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="holds no run"):
        ship(tmp_path, URI)


def test_a_provenance_can_not_carry_a_query(workspace: Path) -> None:
    with pytest.raises(TrackingError, match="not a provenance digest"):
        find_run(URI, "x' OR tags.y = 'z")


def test_no_address_ships_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), shipping(tmp_path, None):
        start(RunLog(tmp_path))
    assert not (tmp_path / "shipped.json").exists()
    assert not caplog.records


# What goes wrong


def test_a_missing_driver_is_said_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg2", None)  # as where it is not installed
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        address = f"postgresql://me:secret@127.0.0.1:{server.getsockname()[1]}/mlflow"
        with pytest.raises(
            TrackingError, match=r"needs the Python package psycopg2.*`pip install psycopg2-binary`"
        ) as told:
            connect(address)
    assert "secret" not in str(told.value)
    assert not isinstance(told.value, TransientError)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ModuleNotFoundError("No module named 'pyodbc'", name="pyodbc"), "package pyodbc, .*`pip install pyodbc`"),
        (ModuleNotFoundError("No module named 'boto3'", name="boto3"), "package boto3, .*`pip install boto3`"),
        (
            ModuleNotFoundError("No module named 'google.cloud'", name="google.cloud"),
            r"package google\.cloud, .*`pip install google-cloud-storage`",
        ),
        (ModuleNotFoundError("Get me libhdfs"), "a Python package that is not installed; install it: Get me libhdfs"),
    ],
)
def test_any_missing_package_is_said_with_its_remedy(error: Exception, sentence: str) -> None:
    with pytest.raises(TrackingError, match=sentence) as told, explained_tracking_errors("mssql://me:s3cret@db/x"):
        raise error
    assert "s3cret" not in str(told.value)


def test_a_missing_module_of_our_own_is_a_bug() -> None:
    with pytest.raises(ModuleNotFoundError), explained_tracking_errors("sqlite:///x.db"):
        raise ModuleNotFoundError("No module named 'langmill.lost'", name="langmill.lost")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        sqlite3.OperationalError("database or disk is full"),
        MlflowException("(sqlite3.OperationalError) database or disk is full [SQL: INSERT INTO metrics]"),
        MlflowException("API request failed with error code 500: [Errno 28] No space left on device"),
    ],
)
def test_a_full_disk_is_a_full_disk(error: Exception) -> None:
    with (
        pytest.raises(SpaceError, match=r"No space is left on the disk that holds MLflow's records at .*mlflow\.db"),
        explained_tracking_errors(URI),
    ):
        raise error


@pytest.mark.parametrize(
    "error",
    [ConnectionRefusedError("refused"), TimeoutError("timed out"), sqlite3.OperationalError("database is locked")],
)
def test_what_may_pass_by_itself_is_told_apart(error: Exception) -> None:
    with pytest.raises(TrackingUnreachableError), explained_tracking_errors(URI):
        raise error
    with pytest.raises(TrackingError) as told, explained_tracking_errors(URI):
        raise sqlite3.DatabaseError("file is not a database")
    assert not isinstance(told.value, TransientError)
