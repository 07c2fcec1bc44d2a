"""A small real DVC workspace."""

import subprocess

import pytest

from tests.unit.graph.running import DVC_YAML


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """A workspace whose stages take no time."""
    (tmp_path / "dvc.yaml").write_text(DVC_YAML)
    (tmp_path / "settings.yaml").write_text("training: {steps: 500, optimizer: {rate: 0.1}}\nother: 1\n")
    (tmp_path / "text.txt").write_text("hello\n")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\n    analytics = false\n    check_update = false\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path
