"""What every test gets: no telemetry, no hub, no colours, a quiet MLflow; and the workspaces to work in."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from langmill.files import exclusive_lock
from tests.pipeline.workspace import create, langmill

# A stage's command says `python`: it must be the one that runs the tests, whether its environment is active or not.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])

# A shell starts background jobs with Ctrl-C ignored, and processes pass that on: tests that press it must not
# inherit it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Before any library is imported: they read these once.
os.environ.update(
    {
        "DO_NOT_TRACK": "1",
        # Two tests run side by side: several threads each would take the cores away from each other, the more so as a
        # thread that waits for another one spins.
        "GOMP_SPINCOUNT": "200",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "NO_COLOR": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "TOKENIZERS_PARALLELISM": "true",
        # Else torch.compile starts processes to compile in, each of which imports torch first.
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
    }
)

# How long an example takes says how busy the machine is.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

DATABASE = "sqlite:///.langmill/mlflow.db"


FIRST = (Path("faults/test_run_faults.py"), Path("unit/training/test_variants.py"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files: one makes the workspace for which others would wait, and the other was the last.

    Whoever has the last file to himself, the other process waits for.
    """
    places = {Path(__file__).parent / path: place for place, path in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.path, len(FIRST)))


def pytest_collection_finish() -> None:
    """Take the libraries, which the tests' modules have imported by now, out of the garbage collector's rounds."""
    gc.freeze()


# Those of `langmill.training.fitting`, which imports torch: most tests can do without.
LAUNCHERS = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "RANK", "LOCAL_RANK", "WORLD_SIZE")


@pytest.fixture(autouse=True)
def no_launcher_stays() -> Iterator[None]:
    """See that no test leaves what trainings that later ones start would take for a launcher's."""
    before = {name: os.environ.pop(name, None) for name in LAUNCHERS}
    yield
    left = {name: value for name in LAUNCHERS if (value := os.environ.pop(name, None)) is not None}
    os.environ.update({name: value for name, value in before.items() if value is not None})
    assert not left, "a test left them behind"


def _shared(factory: pytest.TempPathFactory) -> Path:
    """The folder that all processes of this test session share."""
    own = factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def _once(base: Path, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that the first process to ask for it makes, for all of the session; copy it, do not change it."""
    folder, unfinished = base / name / "workspace", base / name / "unfinished"
    with exclusive_lock(base / f"{name}.lock", "Another test process", wait=True):
        if not folder.exists():
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            make(unfinished)
            unfinished.rename(folder)
    return folder


@functools.cache
def _template_folder(base: Path) -> Path:
    return _once(base, "template", create)


@functools.cache
def _database_folder(base: Path) -> Path:
    from langmill.tracking.connection import ensure_database

    def make(folder: Path) -> None:
        with contextlib.chdir(folder):
            ensure_database(DATABASE)

    return _once(base, "database", make)


def _copy_database(base: Path, workspace: Path) -> None:
    """Give a workspace MLflow's database, empty, whose making takes seconds."""
    from langmill.tracking.connection import ensure_database

    (workspace / ".langmill").mkdir(parents=True, exist_ok=True)
    shutil.copy(_database_folder(base) / ".langmill" / "mlflow.db", workspace / ".langmill" / "mlflow.db")
    with contextlib.chdir(workspace):
        ensure_database(DATABASE)  # its addresses lead here now


@functools.cache
def _made_folder(base: Path) -> Path:
    template, folder, told = _template_folder(base), base / "made" / "workspace", base / "made" / "first-run.txt"
    with exclusive_lock(base / "made.lock", "Another test process", wait=True):
        if not told.exists():
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(template, folder, symlinks=True)
            done = langmill(folder, "run", timeout=1200)
            assert done.returncode == 0, done.stdout + done.stderr + _logs(folder)
            told.write_text(done.stdout)
    return folder


def _logs(folder: Path) -> str:
    logs = sorted((folder / ".langmill" / "logs").glob("run-*.log"))
    return logs[-1].read_text(errors="replace")[-4000:] if logs else os.linesep


@pytest.fixture
def tiny_workspace(tmp_path_factory, tmp_path) -> Path:
    """A fresh small workspace in which nothing has run; returns its folder."""
    folder = tmp_path / "workspace"
    shutil.copytree(_template_folder(_shared(tmp_path_factory)), folder, symlinks=True)
    return folder


@pytest.fixture(scope="session")
def made_workspace(tmp_path_factory) -> Path:
    """A small workspace in which `langmill run` has run once; read it, do not change it."""
    return _made_folder(_shared(tmp_path_factory))


@pytest.fixture(scope="session")
def first_run(made_workspace) -> str:
    """What that `langmill run` printed."""
    return (made_workspace.parent / "first-run.txt").read_text()


@pytest.fixture
def remade_workspace(made_workspace, tmp_path) -> Path:
    """A copy of a workspace that has run, to change at will."""
    folder = tmp_path / "workspace"
    shutil.copytree(made_workspace, folder, symlinks=True)
    return folder


@pytest.fixture(scope="session")
def copy_database(tmp_path_factory) -> Callable[[Path], None]:
    """Gives a workspace MLflow's database, empty, before anything of MLflow's is asked there."""
    return functools.partial(_copy_database, _shared(tmp_path_factory))


@pytest.fixture(scope="session")
def built_models(tmp_path_factory) -> Path:
    """A workspace with models, evaluations and an empty registry, made without the line; copy it, do not change it."""
    from tests.unit.registry.building import build_workspace

    base = _shared(tmp_path_factory)

    def make(folder: Path) -> None:
        build_workspace(folder)
        _copy_database(base, folder)

    return _once(base, "built", make)


@pytest.fixture(scope="session")
def trainable_workspace(tmp_path_factory) -> Path:
    """Two shipped recipes, made small, up to their tokens, made without the line; copy it, do not change it."""
    from tests.unit.training.material import make_workspace

    return _once(_shared(tmp_path_factory), "trainable", make_workspace)


@pytest.fixture
def registry_workspace(built_models, tmp_path, monkeypatch) -> Path:
    """A copy of it to change at will; it is the current folder."""
    folder = tmp_path / "workspace"
    shutil.copytree(built_models, folder)
    monkeypatch.chdir(folder)
    return folder
