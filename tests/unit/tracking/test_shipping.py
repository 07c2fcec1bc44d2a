from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import pytest

from langmill.errors import TrackingError
from langmill.files import read_json
from langmill.tracking import shipping
from langmill.tracking.connection import connect
from langmill.tracking.run_log import RunLog
from langmill.tracking.runs import find_run
from langmill.tracking.shipping import ship
from tests.refused import refused
from tests.unit.tracking.logs import URI, events_of, start

pytestmark = pytest.mark.unit


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
    assert find_run(connect(URI), "first") == run_id
    assert find_run(connect(URI), "another") is None


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


def test_mlflows_pages_show_what_was_said_last(workspace: Path, tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    log.start(experiment="shown", name="run", provenance="shown", params={}, tags={}, description="Writes films.")
    client = connect(URI)
    run_id = ship(tmp_path, URI)
    assert client.get_run(run_id).data.tags["mlflow.note.content"] == "Writes films."
    log.show("# Better", ["test/accuracy"])
    RunLog(tmp_path).show("# Better", ["test/accuracy"])  # as when an evaluation is repeated
    assert len([event for event in events_of(tmp_path) if event["kind"] == "show"]) == 1
    assert RunLog(tmp_path).description == "Writes films."
    ship(tmp_path, URI)
    run = client.get_run(run_id)
    assert run.data.tags["mlflow.note.content"] == "# Better"
    tags = client.get_experiment(run.info.experiment_id).tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    assert tags["mlflow.note.content"] == "Writes films."
    view = json.loads(tags["mlflow.sharedViewState.langmill"])
    assert view["selectedColumns"][-1] == view["columnOrder"][-1] == "metrics.`test/accuracy`"
    assert set(view["columnWidths"]) <= set(view["columnOrder"]), "MLflow widens the columns that it orders"
    client.set_experiment_tag(run.info.experiment_id, "mlflow.note.content", "Ours")
    log.show("# Best", ["test/loss"])
    ship(tmp_path, URI)
    tags = client.get_experiment(run.info.experiment_id).tags
    assert tags["mlflow.note.content"] == "Ours", "what a person wrote there stays"
    assert "metrics.`test/loss`" in tags["mlflow.sharedViewState.langmill"]


def test_a_run_that_goes_on_is_running_again(workspace: Path, tmp_path: Path) -> None:
    with contextlib.suppress(KeyboardInterrupt), (log := RunLog(tmp_path)).recorded():
        start(log, "goes-on")
        raise KeyboardInterrupt
    run_id = ship(tmp_path, URI)
    assert connect(URI).get_run(run_id).info.status == "KILLED"
    with (log := RunLog(tmp_path)).recorded():
        start(log, "goes-on")
        ship(tmp_path, URI)
        assert connect(URI).get_run(run_id).info.status == "RUNNING"
    ship(tmp_path, URI)
    assert connect(URI).get_run(run_id).info.status == "FINISHED"


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
    with refused(TrackingError, "missing", str(tmp_path)):
        ship(tmp_path, URI)


def test_a_password_is_written_to_no_file(workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server's address with user and password: whoever answers, its note of what was sent holds neither."""
    uri = "http://me:secret@server:5000/path"
    log = RunLog(tmp_path)
    start(log, "with-a-password")
    client = connect(URI)
    monkeypatch.setattr(shipping, "connect", lambda _: client)
    run_id = ship(tmp_path, uri)
    assert read_json(tmp_path / "shipped.json") == {
        "tracking_uri": "http://server:5000/path",
        "run_id": run_id,
        "offset": (tmp_path / "events.jsonl").stat().st_size,
    }
    assert ship(tmp_path, uri) == run_id
