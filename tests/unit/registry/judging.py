"""Versions judged by the gate."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from langmill.config.sections import Accelerator, Recipe
from langmill.registry import rescore, steps
from langmill.registry.store import ModelRegistry
from langmill.registry.verdict import Verdict
from langmill.registry.versions import CHAMPION, ModelVersion
from tests.unit.registry.building import LANGUAGE_MODEL, URI, recipe_of

NAME = LANGUAGE_MODEL


def judged(version: ModelVersion, recipe: Recipe | None = None) -> Verdict:
    """What the flow does between validation and promotion."""
    recipe = recipe or recipe_of(NAME)
    return steps.judge_version(recipe, version, URI, rescored(version, recipe).problem)


def rescored(
    version: ModelVersion, recipe: Recipe | None = None, device: Accelerator = Accelerator.cpu
) -> steps.Rescored:
    """The step before the gate."""
    files = {"log": Path(".langmill/logs/rescore.out"), "progress": Path(".langmill/progress/rescore.json")}
    return steps.rescore_champion(recipe or recipe_of(NAME), version, URI, device, cancel=threading.Event(), **files)


def in_this_process(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[Any, Any, pa.Table], pa.Table] = lambda task, asked, table: table
) -> list[str]:
    """Let champions be scored again in the test's own process: faster, and the test can watch.

    Args:
        monkeypatch: Pytest's.
        change: Gets the task, the documents and the scores, and gives the scores to write.

    Returns:
        The versions that are scored, as they are.
    """
    scored: list[str] = []
    score = rescore.score_version

    def run(command: Sequence[str], **given: object) -> tuple[int, str]:
        with contextlib.redirect_stderr(io.StringIO()) as said:
            return rescore.main(command[-1]), said.getvalue()

    def watched(version: ModelVersion, model: Any, task: Any, documents: Any, evaluation: Any) -> pa.Table:
        scored.append(version.title)
        return change(task, documents, score(version, model, task, documents, evaluation))

    monkeypatch.setattr(rescore, "run_process", run)
    monkeypatch.setattr(rescore, "score_version", watched)
    return scored


def champion(version: ModelVersion) -> None:
    ModelRegistry(URI).move_alias(NAME, CHAMPION, version.version, None)
