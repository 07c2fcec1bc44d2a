from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from langmill.tracking import ensure_database
from tests.unit.registry.building import URI, build_workspace


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with models and evaluations and an empty registry, made once."""
    folder = tmp_path_factory.mktemp("built")
    build_workspace(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        ensure_database(URI)
    return folder


@pytest.fixture
def workspace(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace of the test's own; it is the current folder."""
    folder = tmp_path / "workspace"
    shutil.copytree(built, folder)
    monkeypatch.chdir(folder)
    return folder
