"""The finished model of a run, kept in the run's own folder until its outputs are known to be committed.

Between the last step and DVC's commit the log is sent and DVC does its own work. A process that is killed there leaves
a model that the next `dvc repro` removes before it starts the stage again. So the model is written to the run's folder
first, and moved to the stage's output from there; see docs/decisions/0320-a-finished-model-is-kept.md.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from langmill.errors import IntegrityError
from langmill.files import atomic_folder, link_or_copy, read_manifest

FINISHED = "finished"
"""The folder's name within a run's."""
_logger = logging.getLogger(__name__)


def sweep_finished(runs: Path, run: Path, recipe: str, is_committed: Callable[[Path], bool]) -> None:
    """Remove kept models that are known to be committed, and those of other runs of this recipe than the one to begin.

    So at most one is kept of each recipe. `runs` is the folder of the runs' folders.
    """
    for folder in sorted(runs.glob(f"*/{FINISHED}")):
        if is_committed(folder) or (folder.parent != run and _recipe(folder) == recipe):
            shutil.rmtree(folder, ignore_errors=True)


def _recipe(folder: Path) -> str | None:
    try:
        return str(read_manifest(folder, verify=False)["recipe"])
    except (IntegrityError, KeyError):
        return None


def is_finished(run: Path) -> bool:
    """Whether a run's folder has its finished model; a damaged one is removed, to be trained again."""
    folder = run / FINISHED
    if not folder.is_dir():
        return False
    try:
        read_manifest(folder, verify=True)
    except IntegrityError as error:
        _logger.warning("The finished model of this run is damaged, so it is trained again. %s", error)
        shutil.rmtree(folder, ignore_errors=True)
        return False
    return True


def put_finished(run: Path, out: Path) -> None:
    """Write a run's finished model to the stage's output, whole or not at all, by hard links where that is possible."""
    with atomic_folder(out) as folder:
        shutil.copytree(run / FINISHED, folder, copy_function=link_or_copy, dirs_exist_ok=True)
