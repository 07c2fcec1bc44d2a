"""Checkpoints, written atomically, and the newest one whose digest is right.

A checkpoint is `step-00000100.ckpt` (a dictionary of tensors and plain values, read with `weights_only`: nothing in it
can run code) and `step-00000100.ckpt.sha256`, written after it. Without its digest a checkpoint does not count.

Where the weights are sharded, `step-00000100.ckpt` is a folder, in which every process has a file of its own. It is
written under a temporary name, renamed when all files are there, and the digest of all is written last.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from langmill.errors import TrainingError
from langmill.files import atomic_file, atomic_folder, digest_files, digest_of, sha256_file, write_text
from langmill.training import processes

ValueT = TypeVar("ValueT")

CHECKPOINTS = "checkpoints"
"""The folder's name within a run's."""
KEPT = 2
"""The newest, and the one before in case the newest is damaged."""
_logger = logging.getLogger(__name__)


def checkpoint_path(folder: Path, step: int) -> Path:
    """Path of the checkpoint after `step` optimizer steps."""
    return folder / f"step-{step:08}.ckpt"


def save_checkpoint(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Write a checkpoint of tensors and plain values, nested in dictionaries and lists; drop all but the newest two.

    Raises SpaceError where the disk is full; the older checkpoints are untouched.
    """
    path = checkpoint_path(folder, step)
    with atomic_file(path) as file:
        torch.save(state, file)
    _finish(path, sha256_file(path))
    return path


def save_sharded_checkpoint(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Write this process's part of a checkpoint; every process must call it, each with its own state.

    Raises SpaceError where the disk of some process is full; the older checkpoints are untouched.
    """
    path = checkpoint_path(folder, step)
    with contextlib.ExitStack() as stack:
        begun = _attempt(lambda: stack.enter_context(atomic_folder(path))) if processes.rank() == 0 else None
        (temporary,) = _first_failure([processes.broadcast(begun)])
        assert temporary is not None
        written = _first_failure(processes.all_gather(_attempt(lambda: _write_part(temporary, state))))
    if processes.rank() == 0:
        _finish(path, digest_of(dict(written)))
    return path


def _write_part(folder: Path, state: dict[str, Any]) -> tuple[str, str]:
    """Write this process's file; return its name and SHA-256."""
    path = folder / _part_name(processes.rank())
    with atomic_file(path) as file:
        torch.save(state, file)
    return path.name, sha256_file(path)


def _attempt(work: Callable[[], ValueT]) -> ValueT | Exception:
    """Do some work; return its error instead of raising it, so that the other processes can be told."""
    try:
        return work()
    except Exception as error:  # raised by every process
        return error


def _first_failure(results: Sequence[ValueT | Exception]) -> list[ValueT]:
    """Raise the first error among what the processes have done; return the results where there is none."""
    done = []
    for result in results:
        if isinstance(result, Exception):
            raise result
        done.append(result)
    return done


def _finish(path: Path, digest: str) -> None:
    """Write a checkpoint's digest, from which on it counts, and drop all but the newest two."""
    write_text(_digest_path(path), digest + "\n")
    for old in _newest_first(path.parent)[KEPT:]:
        _digest_path(old).unlink(missing_ok=True)
        if old.is_dir():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.unlink(missing_ok=True)


def newest_valid(folder: Path) -> Path | None:
    """Find the newest checkpoint whose digest is right; damaged ones are skipped with a warning."""
    for path in _newest_first(folder):
        digest = _digest_path(path)
        if digest.is_file() and digest.read_text(encoding="utf-8").strip() == _digest(path):
            return path
        _logger.warning("%s is damaged or was not finished; the checkpoint before it is used.", path)
    return None


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint's state onto the CPU; of one in parts, this process's own.

    Raises TrainingError where the file can't be read, although its digest was right.
    """
    file = path / _part_name(processes.rank()) if path.is_dir() else path
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise TrainingError(
            f"{path} can't be read ({type(error).__name__}). Remove it, and the next run resumes from the one before.",
            code="unreadable",
        ) from error
    assert isinstance(state, dict)
    return state


def _part_name(rank: int) -> str:
    return f"process-{rank:05}.ckpt"


def _digest(path: Path) -> str:
    return digest_of(digest_files(path)) if path.is_dir() else sha256_file(path)


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.ckpt"), reverse=True)


def _digest_path(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")
