"""MLflow's client for a registry in a local database, without MLflow, whose import takes longer than a rollback may.

It has the methods of `MlflowClient` that moving a champion needs, on the same tables; everything else is asked of
MLflow after all. Where the tables are not those of the MLflow version that this is written for, it is not used at all.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from langmill.tracking.addresses import database_path
from langmill.tracking.connection import connect, ensure_database, open_database

_COLUMNS = {
    "registered_models": {"name", "workspace"},
    "registered_model_aliases": {"workspace", "name", "alias", "version"},
    "registered_model_tags": {"workspace", "name", "key", "value"},
    "model_versions": {
        "workspace", "name", "version", "creation_time", "description", "current_stage", "source", "run_id",
        "storage_location",
    },
    "model_version_tags": {"workspace", "name", "version", "key", "value"},
}  # fmt: skip
"""What must be there; MLflow may have more columns, which have defaults."""
_BY_NAME = re.compile(r"name='([^']*)'")


class _Missing(Exception):
    """There is no such model or version; known by its code, like MLflow's own."""

    error_code = "RESOURCE_DOES_NOT_EXIST"


@dataclass(frozen=True)
class _Model:
    name: str
    aliases: dict[str, int]
    tags: dict[str, str]


@dataclass(frozen=True)
class _Version:
    name: str
    version: int
    creation_timestamp: int
    description: str
    run_id: str
    tags: dict[str, str]
    aliases: list[str]


class _Page(list[_Version]):
    token = None


def registry_client(tracking_uri: str) -> Any:
    """Make a client of MLflow's for a registry, or one that takes no time where that is a local database.

    Raises as `langmill.tracking.connection.connect`.
    """
    path = database_path(tracking_uri)
    if path is None or os.environ.get("MLFLOW_WORKSPACE"):
        return connect(tracking_uri)
    ensure_database(tracking_uri)
    with open_database(path, tracking_uri) as database:
        for table, columns in _COLUMNS.items():
            if not columns <= {row[1] for row in database.execute(f"PRAGMA table_info({table})")}:
                return connect(tracking_uri)
    return LocalClient(path, tracking_uri)


class LocalClient:
    """The registered models of a local database; its methods are those of `MlflowClient`."""

    def __init__(self, path: Path, tracking_uri: str) -> None:
        self._path = path
        self._tracking_uri = tracking_uri

    @cached_property
    def _whole(self) -> Any:
        return connect(self._tracking_uri)

    def __getattr__(self, name: str) -> Any:
        """Ask MLflow for what is not here: runs, artifacts, new models and versions."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._whole, name)

    # Reading ---------------------------------------------------------------------------------------------------------

    def get_registered_model(self, name: str) -> _Model:
        """A model with its aliases and tags."""
        with open_database(self._path, self._tracking_uri) as database:
            self._require_model(database, name)
            aliases = database.execute(
                "SELECT alias, version FROM registered_model_aliases WHERE workspace = 'default' AND name = ?", (name,)
            )
            tags = database.execute(
                "SELECT key, value FROM registered_model_tags WHERE workspace = 'default' AND name = ?", (name,)
            )
            return _Model(name, {alias: int(version) for alias, version in aliases}, dict(tags.fetchall()))

    def get_model_version(self, name: str, version: str) -> _Version:
        """A version with its tags and aliases."""
        found = self._versions(name, int(version))
        if not found:
            raise _Missing(f"{name} has no version {version}.")
        return found[0]

    def search_model_versions(
        self, filter_string: str, max_results: int = 1000, page_token: str | None = None
    ) -> _Page | Any:
        """The versions of the model that the filter names, all on one page; another filter is MLflow's matter."""
        named = _BY_NAME.fullmatch(filter_string)
        if named is None:
            return self._whole.search_model_versions(filter_string, max_results=max_results, page_token=page_token)
        return self._versions(named[1])

    def get_model_version_download_uri(self, name: str, version: str) -> str:
        """Where a version's package is."""
        with open_database(self._path, self._tracking_uri) as database:
            found = database.execute(
                "SELECT storage_location, source FROM model_versions "
                "WHERE workspace = 'default' AND name = ? AND current_stage != 'Deleted_Internal' AND version = ?",
                (name, int(version)),
            ).fetchone()
        if found is None:
            raise _Missing(f"{name} has no version {version}.")
        return str(found[0] or found[1])

    def _versions(self, name: str, version: int | None = None) -> _Page:
        with open_database(self._path, self._tracking_uri) as database:
            rows = database.execute(
                "SELECT version, creation_time, description, run_id FROM model_versions "
                "WHERE workspace = 'default' AND name = ? "
                "AND current_stage != 'Deleted_Internal' AND version = COALESCE(?, version) ORDER BY version",
                (name, version),
            ).fetchall()
            tags: dict[int, dict[str, str]] = {}
            for number, key, value in database.execute(
                "SELECT version, key, value FROM model_version_tags "
                "WHERE workspace = 'default' AND name = ? AND version = COALESCE(?, version)",
                (name, version),
            ):
                tags.setdefault(int(number), {})[key] = value
            aliases: dict[int, list[str]] = {}
            for number, alias in database.execute(
                "SELECT version, alias FROM registered_model_aliases "
                "WHERE workspace = 'default' AND name = ? AND version = COALESCE(?, version)",
                (name, version),
            ):
                aliases.setdefault(int(number), []).append(alias)
        return _Page(
            _Version(
                name, int(number), int(created), said or "", run or "", tags.get(int(number), {}),
                aliases.get(int(number), []),
            )
            for number, created, said, run in rows
        )  # fmt: skip

    # Writing ---------------------------------------------------------------------------------------------------------

    def set_registered_model_tag(self, name: str, key: str, value: str) -> None:
        """Set a tag of a model."""
        self._write(
            "INSERT OR REPLACE INTO registered_model_tags (workspace, name, key, value) VALUES ('default', ?, ?, ?)",
            (name, key, value),
            lambda database: self._require_model(database, name),
        )

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
        """Let an alias point to a version."""
        self._write(
            "INSERT OR REPLACE INTO registered_model_aliases (workspace, name, alias, version) "
            "VALUES ('default', ?, ?, ?)",
            (name, alias, int(version)),
            lambda database: self._require_version(database, name, version),
        )

    def delete_registered_model_alias(self, name: str, alias: str) -> None:
        """Let an alias point nowhere."""
        self._write(
            "DELETE FROM registered_model_aliases WHERE workspace = 'default' AND name = ? AND alias = ?",
            (name, alias),
            lambda database: self._require_model(database, name),
        )

    def set_model_version_tag(self, name: str, version: str, key: str, value: str) -> None:
        """Set a tag of a version."""
        self._write(
            "INSERT OR REPLACE INTO model_version_tags (workspace, name, version, key, value) "
            "VALUES ('default', ?, ?, ?, ?)",
            (name, int(version), key, value),
            lambda database: self._require_version(database, name, version),
        )

    def delete_model_version_tag(self, name: str, version: str, key: str) -> None:
        """Take a tag off a version."""
        self._write(
            "DELETE FROM model_version_tags WHERE workspace = 'default' AND name = ? AND version = ? AND key = ?",
            (name, int(version), key),
            lambda database: self._require_version(database, name, version),
        )

    def _write(self, statement: str, values: tuple[object, ...], check: Callable[[sqlite3.Connection], None]) -> None:
        with open_database(self._path, self._tracking_uri) as database:
            database.execute("BEGIN IMMEDIATE")
            check(database)
            database.execute(statement, values)
            database.execute("COMMIT")

    def _require_model(self, database: sqlite3.Connection, name: str) -> None:
        if not database.execute(
            "SELECT 1 FROM registered_models WHERE workspace = 'default' AND name = ?", (name,)
        ).fetchone():
            raise _Missing(f"There is no registered model {name}.")

    def _require_version(self, database: sqlite3.Connection, name: str, version: str) -> None:
        found = database.execute(
            "SELECT 1 FROM model_versions "
            "WHERE workspace = 'default' AND name = ? AND current_stage != 'Deleted_Internal' AND version = ?",
            (name, int(version)),
        )
        if not found.fetchone():
            raise _Missing(f"{name} has no version {version}.")
