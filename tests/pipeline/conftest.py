"""Workspaces for the tests of the whole line."""

import functools
import os
import shutil
from pathlib import Path

import pytest

from tests.pipeline.workspace import create, langmill


@functools.cache
def _template_folder(base: Path) -> Path:
    return create(base / "template" / "workspace")


@functools.cache
def _made_folder(base: Path) -> Path:
    folder = base / "made" / "workspace"
    shutil.copytree(_template_folder(base), folder, symlinks=True)
    done = langmill(folder, "run", timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr + _logs(folder)
    (folder / "first-run.txt").write_text(done.stdout)
    return folder


# The fixtures are imported by tests in other folders, where pytest takes them for others; so what is made once for all
# is kept by the functions above.


@pytest.fixture
def tiny_workspace(tmp_path_factory, tmp_path) -> Path:
    """A fresh small workspace in which nothing has run; returns its folder."""
    folder = tmp_path / "workspace"
    shutil.copytree(_template_folder(tmp_path_factory.getbasetemp()), folder, symlinks=True)
    return folder


@pytest.fixture(scope="session")
def made_workspace(tmp_path_factory) -> Path:
    """A small workspace in which `langmill run` has run once; read it, do not change it."""
    return _made_folder(tmp_path_factory.getbasetemp())


@pytest.fixture
def remade_workspace(made_workspace, tmp_path) -> Path:
    """A copy of a workspace that has run, to change at will."""
    folder = tmp_path / "workspace"
    shutil.copytree(made_workspace, folder, symlinks=True)
    return folder


def _logs(folder: Path) -> str:
    logs = sorted((folder / ".langmill" / "logs").glob("run-*.log"))
    return logs[-1].read_text(errors="replace")[-4000:] if logs else os.linesep
