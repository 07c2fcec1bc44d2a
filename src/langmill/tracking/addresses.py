"""Tracking addresses, and the files of a local MLflow database."""

from __future__ import annotations

from pathlib import Path

from langmill.errors import without_passwords


def resolved_uri(tracking_uri: str) -> str:
    """Make a relative SQLite path of a tracking address absolute, from the workspace on."""
    database = database_path(tracking_uri)
    return f"sqlite:///{database}" if database else tracking_uri


def public_address(tracking_uri: str) -> str:
    """Address that identifies a server, without user and password."""
    return without_passwords(resolved_uri(tracking_uri))


def database_path(tracking_uri: str) -> Path | None:
    """Absolute path of the file of a `sqlite:///…` address; None for any other address."""
    prefix = "sqlite:///"
    if not tracking_uri.startswith(prefix):
        return None
    return Path.cwd() / tracking_uri.removeprefix(prefix).split("?")[0]


def artifact_root(tracking_uri: str) -> Path | None:
    """Artifact folder of a local database, beside it; None where a server keeps them itself."""
    database = database_path(tracking_uri)
    return database.parent / "artifacts" if database else None
