"""The folder to fetch into."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def into(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    return folder
