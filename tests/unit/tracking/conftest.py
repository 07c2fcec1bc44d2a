"""A local database of MLflow; making one takes seconds."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from langmill.tracking.connection import ensure_database
from tests.unit.tracking.logs import URI


@pytest.fixture(scope="session")
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
