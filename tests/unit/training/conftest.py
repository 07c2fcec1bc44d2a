"""A small workspace, made once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.unit.training.material import make_workspace


@pytest.fixture(scope="session")
def prepared_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both shipped recipes, made small, up to their tokens; read only."""
    return make_workspace(tmp_path_factory.mktemp("training") / "workspace")


@pytest.fixture
def workspace(prepared_workspace: Path, tmp_path: Path) -> Path:
    """A copy to train in."""
    return Path(shutil.copytree(prepared_workspace, tmp_path / "workspace"))
