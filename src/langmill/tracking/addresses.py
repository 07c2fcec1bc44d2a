"""Where MLflow is: tracking addresses, and what lies behind those of a local database."""

from __future__ import annotations

from pathlib import Path

from langmill.errors import without_passwords


def resolved_uri(tracking_uri: str) -> str:
    """A tracking address with a relative SQLite path made absolute, from the workspace on."""
    database = database_path(tracking_uri)
    return f"sqlite:///{database}" if database else tracking_uri


def public_address(tracking_uri: str) -> str:
    """What tells a server from others, fit to be written to a file."""
    return without_passwords(resolved_uri(tracking_uri))


def database_path(tracking_uri: str) -> Path | None:
    """The file behind a `sqlite:///…` address, absolute; None for any other address."""
    prefix = "sqlite:///"
    if not tracking_uri.startswith(prefix):
        return None
    return Path.cwd() / tracking_uri.removeprefix(prefix).split("?")[0]


def artifact_root(tracking_uri: str) -> Path | None:
    """The folder for the artifacts of a local database, beside it; None where a server keeps them itself."""
    database = database_path(tracking_uri)
    return database.parent / "artifacts" if database else None
