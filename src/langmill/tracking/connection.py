"""Connections to MLflow that fail soon and with one sentence, and the making of the local database.

MLflow takes seconds to import, so it is imported where it is needed; code that only logs (`RunLog`) never does.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sqlite3
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from langmill.errors import TrackingError
from langmill.files import exclusive_lock, explained_os_errors
from langmill.tracking.addresses import artifact_root, database_path, resolved_uri
from langmill.tracking.explained import explained_tracking_errors
from langmill.tracking.relocation import mend_locations

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

# MLflow reads these when it is imported or called. The retries: by default a dead server costs four minutes a call.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING": "false",
    "MLFLOW_LOG_UV_FILES": "false",
    "MLFLOW_DISABLE_AGENT_HINT": "true",
}
_NOISY = ("mlflow", "alembic", "sqlalchemy", "urllib3", "git")
_PROBE_SECONDS = 5.0

_logger = logging.getLogger(__name__)


def quiet_mlflow() -> None:
    """Switch off MLflow's output, prompts and telemetry; existing environment variables win."""
    for key, value in _ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="mlflow.*")


def connect(tracking_uri: str) -> MlflowClient:
    """Make a client for runs and registered models, and the local database if it is missing.

    Raises TrackingError where the server does not answer, or the database is locked or damaged.
    """
    ensure_database(tracking_uri)
    _probe(tracking_uri)
    quiet_mlflow()
    with explained_tracking_errors(tracking_uri):
        from mlflow.tracking import MlflowClient

        uri = resolved_uri(tracking_uri)
        return MlflowClient(uri, uri)


def _probe(tracking_uri: str) -> None:
    """Fail soon where nothing answers: MLflow itself retries a dead PostgreSQL for almost an hour."""
    parts = urlsplit(tracking_uri)
    default = {"http": 80, "https": 443}.get(parts.scheme, 5432 if parts.scheme.startswith("postgres") else None)
    port = parts.port or default
    if parts.hostname and port is not None:
        with explained_tracking_errors(tracking_uri):
            socket.create_connection((parts.hostname, port), timeout=_PROBE_SECONDS).close()


def ensure_database(tracking_uri: str) -> None:
    """Make the local database if it is missing, once and whole.

    MLflow makes it at first use, and several processes that do so at once break it. Where the database's folder was
    moved or copied, the locations of its artifacts are corrected (`relocation`). Raises TrackingError where the file
    can't be made, is locked, or is not MLflow's.
    """
    path, root = database_path(tracking_uri), artifact_root(tracking_uri)
    if path is None or root is None:
        return
    if _is_database(path, tracking_uri):
        with open_database(path, tracking_uri) as database:
            former = mend_locations(database, root)
        if former is not None:
            _logger.warning(
                "The workspace was moved or copied: MLflow's addresses of its artifacts led to %s and lead to %s now.",
                former, root.as_uri(),
            )  # fmt: skip
        return
    with explained_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(path.parent / "locks" / "database.lock", "Making MLflow's database", wait=True):
            if _is_database(path, tracking_uri):
                return
            quiet_mlflow()
            unfinished = path.with_name(path.name + ".new")
            unfinished.unlink(missing_ok=True)
            with explained_tracking_errors(tracking_uri):
                from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

                SqlAlchemyStore(f"sqlite:///{unfinished}", root.as_uri()).engine.dispose()
            os.replace(unfinished, path)


@contextlib.contextmanager
def open_database(path: Path, tracking_uri: str) -> Iterator[sqlite3.Connection]:
    """Open the local database without MLflow, whose import takes seconds; every statement is its own transaction.

    Raises TrackingError where it can't be read, or is locked.
    """
    with (
        explained_tracking_errors(tracking_uri),
        contextlib.closing(sqlite3.connect(path, timeout=_PROBE_SECONDS, isolation_level=None)) as database,
    ):
        yield database


def _is_database(path: Path, tracking_uri: str) -> bool:
    """Whether MLflow's database exists; raises where it can't be read, instead of MLflow's hour of retries."""
    if not path.exists():
        return False
    with open_database(path, tracking_uri) as database:
        try:
            return bool(database.execute("SELECT version_num FROM alembic_version").fetchone())
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                raise TrackingError(
                    f"{path} is not a database of MLflow. Move it away, and the next run makes a new one.", "unreadable"
                ) from error
            raise
