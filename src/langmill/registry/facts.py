"""Tags that programs alone read, kept together in one of MLflow's, so that its pages show the few that people read."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

from langmill.files import canonical_json

FACTS_TAG = "mlflow.langmill.facts"
"""MLflow's pages hide the tags that begin like its own."""


def packed(tags: Mapping[str, str], shown: Collection[str]) -> dict[str, str]:
    """The tags of a new version as MLflow gets them: those that are shown, and all others as JSON in one."""
    facts = {key: value for key, value in tags.items() if key not in shown and value}
    return {**{key: value for key, value in tags.items() if key in shown}, FACTS_TAG: canonical_json(facts)}


def unpacked(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags of a version from those that MLflow has; one that was set later by itself has the last word."""
    return {**_facts(tags), **{key: value for key, value in tags.items() if key != FACTS_TAG}}


def repacked(tags: Mapping[str, str], without: str) -> str | None:
    """The content of `FACTS_TAG` that lacks a tag; None where the one among `tags`, which MLflow has, lacks it."""
    facts = _facts(tags)
    return canonical_json({key: value for key, value in facts.items() if key != without}) if without in facts else None


def _facts(tags: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = json.loads(tags.get(FACTS_TAG, "{}"))
    return found
