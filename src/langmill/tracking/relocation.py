"""Artifact locations of a local MLflow database whose folder was moved or copied.

MLflow keeps absolute addresses, so such a workspace would keep reading and writing the folder that it came from. The
database itself records it: the artifacts of its first experiment are in a folder beside it.
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
"""Columns of MLflow's tables that hold artifact addresses; versions of MLflow may lack some."""


def mend_locations(database: sqlite3.Connection, root: Path) -> str | None:
    """Replace addresses below the database's former artifact folder by those below `root`, the one beside it now.

    Returns:
        The former folder's address; None if it has not moved, and nothing was written.
    """
    here = root.as_uri()
    if _former_root(database, here) is None:
        return None
    with database:
        database.execute("BEGIN IMMEDIATE")
        former = _former_root(database, here)  # another process may have been faster
        if former is not None:
            for table, column in _LOCATIONS:
                if database.execute("SELECT 1 FROM pragma_table_info(?) WHERE name = ?", (table, column)).fetchone():
                    database.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",  # noqa: S608
                        (here, len(former) + 1, len(former) + 1, f"{former}/"),
                    )
    return former


def _former_root(database: sqlite3.Connection, here: str) -> str | None:
    """Address of the first experiment's artifact folder, if it is named like ours but is elsewhere."""
    found = database.execute("SELECT artifact_location FROM experiments ORDER BY experiment_id LIMIT 1").fetchone()
    root = str(found[0]).rpartition("/")[0] if found else ""
    same_names = root.split("/")[-2:] == here.split("/")[-2:]  # else someone chose another place for the artifacts
    return root if root.startswith("file:") and same_names and root != here else None
