"""Checkpoints, written atomically, and the newest one whose digest is right.

A checkpoint is `step-00000100.ckpt` (a dictionary of tensors and plain values, read with `weights_only`: nothing in it
can run code) and `step-00000100.ckpt.sha256`, written after it. Without its digest a checkpoint does not count.
"""

from __future__ import annotations

import logging
import pickle
from pathlib import Path
from typing import Any

import torch

from langmill.errors import TrainingError
from langmill.files import atomic_file, sha256_file, write_text

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

    Raises:
        SpaceError: The disk is full; the older checkpoints are untouched.
    """
    path = checkpoint_path(folder, step)
    with atomic_file(path) as file:
        torch.save(state, file)
    write_text(_digest_path(path), sha256_file(path) + "\n")
    for old in _newest_first(folder)[KEPT:]:
        _digest_path(old).unlink(missing_ok=True)
        old.unlink(missing_ok=True)
    return path


def newest_valid(folder: Path) -> Path | None:
    """Find the newest checkpoint whose digest is right; damaged ones are skipped with a warning."""
    for path in _newest_first(folder):
        digest = _digest_path(path)
        if digest.is_file() and digest.read_text(encoding="utf-8").strip() == sha256_file(path):
            return path
        _logger.warning("%s is damaged or was not finished; the checkpoint before it is used.", path)
    return None


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint's state onto the CPU.

    Raises:
        TrainingError: The file can't be read, although its digest was right.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise TrainingError(
            f"{path} can't be read ({type(error).__name__}). Remove it, and the next run resumes from the one before.",
            code="unreadable",
        ) from error
    assert isinstance(state, dict)
    return state


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.ckpt"), reverse=True)


def _digest_path(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")
