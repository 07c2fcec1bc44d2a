"""Errors of MLflow and its stores as ours, in one sentence: what was wrong, where, and what to do."""

from __future__ import annotations

import contextlib
import errno
import re
import socket
from collections.abc import Iterator
from typing import Any

from langmill.errors import Code, LangmillError, SpaceError, TrackingError, TrackingUnreachableError, without_passwords
from langmill.files import full_disk_sentence, is_full_disk
from langmill.tracking.addresses import database_path, resolved_uri

_PACKAGES = {
    "psycopg2": "psycopg2-binary",
    "psycopg": "'psycopg[binary]'",
    "MySQLdb": "mysqlclient",
    "google": "google-cloud-storage",
    "azure": "azure-storage-blob azure-identity",
}
"""Distributions of the modules that a tracking address or artifact store may need, where the names differ."""
_NO_ANSWER = (
    r"[Cc]onnection (?:refused|reset|aborted)|Max retries|timed out|timeout expired|could not connect|"
    r"could not translate host|too many 5\d\d error"
)
_UNREACHABLE = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN}


@contextlib.contextmanager
def explained_tracking_errors(tracking_uri: str) -> Iterator[None]:
    """Turn errors of MLflow and its stores into a `TrackingError` of one sentence.

    Raises:
        SpaceError: The disk is full.
        TrackingUnreachableError: The server does not answer, or the database is locked.
        TrackingError: Anything else that was not a Langmill error already.
    """
    try:
        yield
    except (TrackingError, AssertionError):
        raise
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and (top := (error.name or "").split(".")[0]) != "langmill":
            place = f"MLflow at {without_passwords(tracking_uri)}, or where it keeps its artifacts,"
            needed = f"the Python package {error.name}" if top else "a Python package"
            install = f"`pip install {_PACKAGES.get(top, top)}` gets it" if top else first_line(str(error))
            raise TrackingError(
                f"{place} needs {needed}, which is not installed; {install}.", "not_importable"
            ) from error
        if not _is_foreign(error):
            raise
        if is_full_disk(error):
            place = without_passwords(str(database_path(tracking_uri) or tracking_uri))
            raise SpaceError(full_disk_sentence(f"MLflow's records at {place}")) from error
        kind = TrackingUnreachableError if _may_pass(error) else TrackingError
        code, sentence = _explanation(tracking_uri, error)
        raise kind(without_passwords(sentence), code) from error


def _may_pass(error: Exception) -> bool:
    """Whether the same call may succeed later: the server does not answer, or the database is locked."""
    if type(error).__module__.split(".")[0] in {"requests", "urllib3"}:
        return getattr(error, "response", None) is None
    if isinstance(error, OSError):  # a full disk or a missing permission is no matter of time
        return isinstance(error, ConnectionError | TimeoutError | socket.gaierror) or error.errno in _UNREACHABLE
    return re.search(_NO_ANSWER, str(error)) is not None or "database is locked" in str(error)


def _is_foreign(error: Exception) -> bool:
    module = type(error).__module__.split(".")[0]
    return module in {"mlflow", "sqlalchemy", "sqlite3", "alembic", "requests", "urllib3"} or isinstance(error, OSError)


def _explanation(tracking_uri: str, error: Exception) -> tuple[Code, str]:
    place = str(database_path(tracking_uri) or tracking_uri)
    message = str(error)
    kept = "Nothing is lost: what was logged is kept and sent by the next run."
    if "database is locked" in message:
        wait = "Wait for that process or stop it, and run the same command again."
        return "busy", f"The tracking database {place} is locked by another process. {kept} {wait}"
    if "out-of-date" in message or "Can't locate revision" in message:
        upgrade = f"Upgrade it with `mlflow db upgrade {resolved_uri(tracking_uri)}`."
        return "mismatch", f"The tracking database {place} was made by another version of MLflow. {upgrade}"
    if "not a database" in message or "malformed" in message:
        restore = "Restore it, or move it and the ledger beside it away and new ones are made."
        return "damaged", f"The tracking database {place} is damaged. {restore}"
    if isinstance(error, OSError) or re.search(f"{_NO_ANSWER}|unable to open", message):
        check = f"{kept} Check operation.tracking_uri, and that the server is up."
        code: Code = "unreachable" if _may_pass(error) else "refused"
        return code, f"The tracking server {place} can't be reached ({first_line(message)}). {check}"
    return "refused", f"MLflow at {place} refused: {first_line(message)}"


def first_line(message: str) -> str:
    """The first line of a message, at most 300 characters of it."""
    lines = message.strip().splitlines()
    return lines[0][:300] if lines else "no reason given"


@contextlib.contextmanager
def missing_as_none() -> Iterator[list[Any]]:
    """Collect what the block finds; the list stays empty where MLflow says that there is no such thing."""
    found: list[Any] = []
    try:
        yield found
    except LangmillError:
        raise
    except Exception as error:
        if getattr(error, "error_code", None) != "RESOURCE_DOES_NOT_EXIST":
            raise


@contextlib.contextmanager
def existing_is_fine() -> Iterator[None]:
    """Ignore MLflow's refusal to make what is there already."""
    try:
        yield
    except Exception as error:
        if getattr(error, "error_code", None) != "RESOURCE_ALREADY_EXISTS":
            raise
