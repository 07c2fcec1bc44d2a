from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from langmill.registry.store import ModelRegistry
from tests.unit.registry.building import URI, registered
from tests.unit.registry.moving import NAME


@pytest.fixture
def workspace(registry_workspace: Path) -> Path:
    """A workspace of the test's own; it is the current folder."""
    return registry_workspace


@pytest.fixture(scope="session")
def three(built_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with three registered versions, all validated and none judged; made once."""
    folder = tmp_path_factory.mktemp("three") / "workspace"
    shutil.copytree(built_models, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for seed in (1, 2, 3):
            registered(folder, NAME, seed=seed, factor=0.9)
    return folder


@pytest.fixture
def registry(three: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelRegistry:
    """The test's own copy of that registry."""
    shutil.copytree(three, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return ModelRegistry(URI)
