"""Versions judged by the gate."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from langmill.config.sections import Accelerator, Recipe
from langmill.registry import rescore, steps
from langmill.registry.gathering import Case
from langmill.registry.store import Registry
from langmill.registry.verdict import Verdict
from langmill.registry.versions import CHAMPION, ModelVersion
from tests.unit.registry.building import LANGUAGE_MODEL, URI, recipe_of

NAME = LANGUAGE_MODEL


def judged(version: ModelVersion, recipe: Recipe | None = None) -> Verdict:
    """What the flow does between validation and promotion."""
    recipe = recipe or recipe_of(NAME)
    return steps.judge_version(recipe, version, URI, rescored(recipe, version).problem)


def rescored(recipe: Recipe, version: ModelVersion) -> steps.Rescored:
    """The step before the gate."""
    log, progress = Path(".langmill/logs/rescore.out"), Path(".langmill/progress/rescore.json")
    return steps.rescore_champion(
        recipe, version, URI, Accelerator.cpu, log=log, progress=progress, cancel=threading.Event()
    )


def in_this_process(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Score champions again in the test's own process; returns the versions that are scored, as they are."""
    scored: list[str] = []
    score = rescore._score

    def noted(case: Case, folder: Path, version: ModelVersion, *rest: Any, **more: Any) -> None:
        scored.append(version.title)
        score(case, folder, version, *rest, **more)

    def work(case: Case, device: Accelerator, **more: object) -> str:
        try:
            rescore.score_again(case, device.value)
        except rescore.LangmillError as error:
            return str(error)
        return ""

    monkeypatch.setattr(rescore, "_score", noted)
    monkeypatch.setattr(steps, "rescore", work)
    return scored


def champion(version: ModelVersion) -> None:
    Registry(URI).move_alias(NAME, CHAMPION, version.version, None)
