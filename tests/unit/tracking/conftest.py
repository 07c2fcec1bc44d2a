"""A local database of MLflow."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def database(copy_database: Callable[[Path], None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tracking")
    copy_database(folder)
    shutil.copy(folder / ".langmill" / "mlflow.db", folder / "empty.db")
    return folder


@pytest.fixture
def workspace(database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(database)
    return database
