from __future__ import annotations

import logging
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from langmill.files import digest_files
from langmill.registry.store import ModelRegistry
from langmill.tracking.connection import connect
from langmill.tracking.relocation import mend_locations
from langmill.tracking.run_log import RunLog
from langmill.tracking.shipping import ship
from tests.unit.registry.building import LANGUAGE_MODEL, URI, registered

pytestmark = pytest.mark.unit
NAME = LANGUAGE_MODEL


@pytest.fixture
def workspace(registry_workspace: Path) -> Path:
    """A workspace of the test's own; it is the current folder."""
    return registry_workspace


def log_once_more(folder: Path) -> str:
    """Log a run of the recipe that the workspace has an experiment of, and send it."""
    log = RunLog(folder / ".langmill" / "runs" / "another")
    log.start(experiment=NAME, name="another", provenance="another", params={}, tags={})
    log.text("once upon", "note.txt")
    log.finish()
    return ship(log.folder, URI)


def locations(folder: Path) -> set[str]:
    with closing(sqlite3.connect(folder / ".langmill" / "mlflow.db")) as database:
        tables = (
            ("artifact_location", "experiments"), ("artifact_uri", "runs"), ("source", "model_versions"),
            ("storage_location", "model_versions"), ("artifact_location", "logged_models"),
        )  # fmt: skip
        return {
            str(value)
            for column, table in tables
            for (value,) in database.execute(f"SELECT {column} FROM {table}")
            if value is not None
        }


def test_a_workspace_that_was_moved_uses_its_own_artifacts(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    registered(workspace, NAME, seed=1, factor=1.0)
    assert len(locations(workspace)) > 3
    moved = tmp_path / "another place" / "workspace"
    moved.parent.mkdir()
    shutil.move(workspace, moved)
    monkeypatch.chdir(moved)
    with caplog.at_level(logging.WARNING):
        ModelRegistry(URI).download(NAME, 1, tmp_path / "model")
    assert f"{workspace.as_uri()}/.langmill/artifacts and lead to {moved.as_uri()}" in caplog.text
    assert all(place.startswith(f"{moved.as_uri()}/.langmill/artifacts/") for place in locations(moved))
    assert log_once_more(moved)
    assert registered(moved, NAME, seed=2, factor=1.0).version == 2
    ModelRegistry(URI).download(NAME, 2, tmp_path / "model")
    assert not workspace.exists()
    assert len(list((moved / ".langmill" / "artifacts").rglob("note.txt"))) == 1


def test_a_workspace_that_was_copied_leaves_the_original_alone(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered(workspace, NAME, seed=1, factor=1.0)
    before = digest_files(workspace)
    copy = tmp_path / "copy"
    shutil.copytree(workspace, copy)
    monkeypatch.chdir(copy)
    assert log_once_more(copy)
    registered(copy, NAME, seed=2, factor=1.0)
    assert digest_files(workspace) == before
    shutil.rmtree(workspace)
    ModelRegistry(URI).download(NAME, 1, tmp_path / "model")


def test_nothing_is_written_where_nothing_moved(workspace: Path) -> None:
    registered(workspace, NAME, seed=1, factor=1.0)
    database = workspace / ".langmill" / "mlflow.db"
    before = database.stat().st_mtime_ns
    connect(URI)
    ModelRegistry(URI).names()
    assert database.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "location", ["s3://bucket/0", "mlflow-artifacts:/0", "file:///shared/store/0", "/mlruns/0", None]
)
def test_a_place_that_someone_chose_is_left(workspace: Path, location: str | None) -> None:
    with closing(sqlite3.connect(workspace / ".langmill" / "mlflow.db", isolation_level=None)) as database:
        database.execute("UPDATE experiments SET artifact_location = ?", (location,))
        assert mend_locations(database, workspace / ".langmill" / "artifacts") is None
        assert database.execute("SELECT artifact_location FROM experiments").fetchall() == [(location,)]


def test_only_whole_names_of_folders_are_replaced(workspace: Path, tmp_path: Path) -> None:
    root = workspace / ".langmill" / "artifacts"
    with closing(sqlite3.connect(workspace / ".langmill" / "mlflow.db", isolation_level=None)) as database:
        former = (tmp_path / "old" / ".langmill" / "artifacts").as_uri()
        database.execute("UPDATE experiments SET artifact_location = ?", (f"{former}/0",))
        for name, place in (("near", f"{former}-2/near"), ("far", "s3://bucket/far"), ("ours", f"{former}/ours")):
            database.execute(
                "INSERT INTO experiments (name, artifact_location, lifecycle_stage) VALUES (?, ?, 'active')",
                (name, place),
            )
        assert mend_locations(database, root) == former
        found = dict(database.execute("SELECT name, artifact_location FROM experiments"))
    assert found == {
        "Default": f"{root.as_uri()}/0",
        "near": f"{former}-2/near",
        "far": "s3://bucket/far",
        "ours": f"{root.as_uri()}/ours",
    }
