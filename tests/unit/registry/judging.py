"""Versions judged by the gate."""

from __future__ import annotations

import pytest

from langmill.registry import steps
from langmill.registry.evidence import Evidence
from langmill.registry.store import Registry
from langmill.registry.verdict import Verdict
from langmill.registry.versions import CHAMPION, ModelVersion
from tests.unit.registry.building import (
    LANGUAGE_MODEL,
    URI,
    recipe_of,
)

NAME = LANGUAGE_MODEL


def judged(version: ModelVersion) -> Verdict:
    return steps.judge_version(recipe_of(NAME), version, URI)


def scorings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The versions that the gate scores, as they are scored."""
    scored: list[str] = []
    score = Evidence.score
    monkeypatch.setattr(
        Evidence, "score", lambda self, version, *rest: scored.append(version.title) or score(self, version, *rest)
    )
    return scored


def champion(version: ModelVersion) -> None:
    Registry(URI).move_alias(NAME, CHAMPION, version.version, None)
