"""Artifact locations of a local MLflow database whose folder was moved or copied.

MLflow keeps absolute addresses, so such a workspace would go on reading and writing the folder that it came from. Where
that was, the database itself says: the artifacts of its first experiment lie in a folder beside it.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

_LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("trace_tags", "value"),
    ("workspaces", "default_artifact_root"),
)
"""Where MLflow's tables keep addresses of artifacts; a version of MLflow that lacks one of them has nothing there."""


def mend_locations(database: sqlite3.Connection, root: Path) -> str | None:
    """Let every address below the artifact folder of a database's former place lead to that of its present one.

    Args:
        database: An open MLflow database; nothing is written where it has not moved.
        root: The folder for artifacts beside the database.

    Returns:
        The former folder's address; None where nothing was to do.

    Raises:
        sqlite3.Error: The database can't be written.
    """
    here = root.as_uri()
    if _former_root(database, here) is None:
        return None
    with database:
        database.execute("BEGIN IMMEDIATE")
        former = _former_root(database, here)  # another process may have been faster
        if former is not None:
            for table, column in _LOCATIONS:
                _replace(database, table, column, former, here)
    return former


def _former_root(database: sqlite3.Connection, here: str) -> str | None:
    """The address of the artifact folder that the first experiment names, if it is like ours and elsewhere."""
    found = database.execute("SELECT artifact_location FROM experiments ORDER BY experiment_id LIMIT 1").fetchone()
    root = str(found[0]).rpartition("/")[0] if found else ""
    same_names = root.split("/")[-2:] == here.split("/")[-2:]  # else someone chose another place for the artifacts
    return root if root.startswith("file:") and same_names and root != here else None


def _replace(database: sqlite3.Connection, table: str, column: str, former: str, here: str) -> None:
    if database.execute("SELECT 1 FROM pragma_table_info(?) WHERE name = ?", (table, column)).fetchone():
        database.execute(
            f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",  # noqa: S608
            (here, len(former) + 1, len(former) + 1, f"{former}/"),
        )
