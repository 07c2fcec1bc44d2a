"""Trainings of the recipes that tests/golden shrinks, on a card."""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from langmill.config.compose import compose_recipe
from langmill.config.sections import Accelerator, Training
from langmill.models.device import use_device
from tests.golden.training import CONF, prepare, recipe_of, train_prepared

NEEDS_CARD = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no NVIDIA GPU on this machine"),
]
ON_CARD = "training.accelerator=cuda"


@functools.cache
def prepared(name: str) -> tempfile.TemporaryDirectory[str]:
    """A folder with a recipe's tokens and base, for all tests of this process."""
    folder = tempfile.TemporaryDirectory()
    with contextlib.chdir(folder.name):
        prepare(recipe_of(name))
    return folder


def train(name: str, out: Path, *overrides: str, dropout: bool = False) -> list[dict[str, float]]:
    """Train a recipe into `out`, without its dropout unless asked; the metrics that it logged."""
    with contextlib.chdir(prepared(name).name):
        return train_prepared(recipe_of(name, *overrides, dropout=dropout), out)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file's bytes."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def training_of(*overrides: str) -> Training:
    """The shipped settings of a training."""
    return compose_recipe("reviews-lm", overrides, CONF).training


@contextlib.contextmanager
def finished_model() -> Iterator[str]:
    """The card as `operation.device` gives it to a finished model."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    try:
        yield use_device(Accelerator.cuda)
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
