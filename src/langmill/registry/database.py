"""MLflow's local database read without MLflow, whose import alone takes longer than `langmill status` may."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from langmill.registry.versions import ModelVersion, Tag, time_of


def read_models(path: Path) -> dict[str, tuple[dict[str, int], dict[str, str], set[int]]]:
    """Aliases, tags and numbers of versions of every registered model; none where there is no file.

    Raises:
        sqlite3.Error: The tables look otherwise than expected.
    """
    if not path.is_file():
        return {}
    with contextlib.closing(_opened(path)) as database:
        models: dict[str, tuple[dict[str, int], dict[str, str], set[int]]] = {
            name: ({}, {}, set()) for (name,) in database.execute("SELECT name FROM registered_models")
        }
        for name, alias, version in database.execute("SELECT name, alias, version FROM registered_model_aliases"):
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
        rows = database.execute(
            "SELECT v.name, v.version, v.run_id, v.creation_time, a.alias FROM model_versions v "
            "JOIN registered_model_aliases a ON a.name = v.name AND a.version = v.version ORDER BY v.name, v.version"
        ).fetchall()
        tags: dict[tuple[str, int], dict[str, str]] = {}
        for name, version, key, value in database.execute("SELECT name, version, key, value FROM model_version_tags"):
            tags.setdefault((name, int(version)), {})[key] = value
    aliases: dict[tuple[str, int], list[str]] = {}
    for name, version, _, _, alias in rows:
        aliases.setdefault((name, int(version)), []).append(alias)
    found = {(name, int(version)): (run_id, created) for name, version, run_id, created, _ in rows}
    return [
        ModelVersion(
            name,
            version,
            tuple(sorted(aliases[name, version])),
            tags.get((name, version), {}).get(Tag.provenance, ""),
            run_id,
            tags.get((name, version), {}),
            time_of(created),
        )
        for (name, version), (run_id, created) in found.items()
    ]


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5)
