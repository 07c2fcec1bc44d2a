"""A small workspace to train in."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def prepared_workspace(trainable_workspace: Path) -> Path:
    """Both shipped recipes, made small, up to their tokens; read only."""
    return trainable_workspace


@pytest.fixture
def workspace(prepared_workspace: Path, tmp_path: Path) -> Path:
    """A copy to train in."""
    return Path(shutil.copytree(prepared_workspace, tmp_path / "workspace"))
