"""MLflow's local database read without MLflow, whose import alone takes longer than `langmill status` may."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import defaultdict
from pathlib import Path

from langmill.registry.facts import unpacked
from langmill.registry.versions import ModelVersion, Tag, summary_of, time_of

_ALIASES = "SELECT name, alias, version FROM registered_model_aliases"


def read_models(path: Path) -> dict[str, tuple[dict[str, int], dict[str, str], set[int]]]:
    """Aliases, tags and numbers of versions of every registered model; none where there is no file.

    Raises sqlite3.Error where the tables look otherwise than expected.
    """
    if not path.is_file():
        return {}
    with contextlib.closing(_opened(path)) as database:
        models: dict[str, tuple[dict[str, int], dict[str, str], set[int]]] = {
            name: ({}, {}, set()) for (name,) in database.execute("SELECT name FROM registered_models")
        }
        for name, alias, version in database.execute(_ALIASES):
            models[name][0][alias] = int(version)
        for name, key, value in database.execute("SELECT name, key, value FROM registered_model_tags"):
            models[name][1][key] = value
        for name, version in database.execute(
            "SELECT name, version FROM model_versions WHERE current_stage != 'Deleted_Internal'"
        ):
            models[name][2].add(int(version))
    return models


def read_aliased(path: Path) -> list[ModelVersion]:
    """Every version that an alias points to, by model and version; raises as `read_models` does."""
    if not path.is_file():
        return []
    with contextlib.closing(_opened(path)) as database:
        aliases: dict[tuple[str, int], list[str]] = defaultdict(list)
        for name, alias, version in database.execute(_ALIASES):
            aliases[name, int(version)].append(alias)
        tags: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)
        for name, version, key, value in database.execute("SELECT name, version, key, value FROM model_version_tags"):
            tags[name, int(version)][key] = value
        rows = database.execute(
            "SELECT name, version, run_id, creation_time, description FROM model_versions ORDER BY name, version"
        ).fetchall()
    return [
        ModelVersion(
            name,
            number,
            tuple(sorted(aliases[name, number])),
            (own := unpacked(tags[name, number])).get(Tag.provenance, ""),
            run_id,
            own,
            time_of(created),
            summary_of(description),
        )
        for name, version, run_id, created, description in rows
        if (name, number := int(version)) in aliases
    ]


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5)
