from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def workspace(registry_workspace: Path) -> Path:
    """A workspace of the test's own; it is the current folder."""
    return registry_workspace
