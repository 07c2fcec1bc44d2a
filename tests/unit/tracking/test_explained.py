from __future__ import annotations

import errno
import sqlite3

import pytest
from mlflow.exceptions import MlflowException

from langmill.errors import Code, SpaceError, TrackingError, TrackingUnreachableError, TransientError
from langmill.tracking.explained import explained_tracking_errors
from tests.refused import refused
from tests.unit.tracking.logs import URI

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), TrackingUnreachableError, "unreachable"),
        (ConnectionRefusedError("refused"), TrackingUnreachableError, "unreachable"),
        (TimeoutError("timed out"), TrackingUnreachableError, "unreachable"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), TrackingUnreachableError, "unreachable"),
        (sqlite3.OperationalError("database is locked"), TrackingUnreachableError, "busy"),
        (PermissionError(errno.EACCES, "Permission denied"), TrackingError, "refused"),
        (sqlite3.OperationalError("unable to open database file"), TrackingError, "refused"),
        (sqlite3.DatabaseError("file is not a database"), TrackingError, "damaged"),
        (MlflowException("Detected out-of-date database schema"), TrackingError, "mismatch"),
        (MlflowException("No such experiment"), TrackingError, "refused"),
    ],
)
def test_only_what_may_pass_is_transient(error: Exception, kind: type[TrackingError], code: Code) -> None:
    with refused(TrackingError, code) as caught, explained_tracking_errors("http://me:secret@server:5000"):
        raise error
    assert type(caught.value) is kind
    assert isinstance(caught.value, TransientError) == (kind is TrackingUnreachableError)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("module", "package"), [("pyodbc", "pyodbc"), ("boto3", "boto3"), ("google.cloud", "google-cloud-storage")]
)
def test_any_missing_package_is_said_with_its_remedy(module: str, package: str) -> None:
    address = "mssql://me:s3cret@db/x"
    with (
        refused(TrackingError, "not_importable", f"package {module}", f"`pip install {package}`") as told,
        explained_tracking_errors(address),
    ):
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)
    assert "s3cret" not in str(told.value)
    with refused(TrackingError, "not_importable", "Get me libhdfs"), explained_tracking_errors(address):
        raise ModuleNotFoundError("Get me libhdfs")


def test_a_missing_module_of_our_own_is_a_bug() -> None:
    with pytest.raises(ModuleNotFoundError), explained_tracking_errors("sqlite:///x.db"):
        raise ModuleNotFoundError("No module named 'langmill.lost'", name="langmill.lost")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        sqlite3.OperationalError("database or disk is full"),
        MlflowException("(sqlite3.OperationalError) database or disk is full [SQL: INSERT INTO metrics]"),
        MlflowException("API request failed with error code 500: [Errno 28] No space left on device"),
    ],
)
def test_a_full_disk_is_a_full_disk(error: Exception) -> None:
    with (
        refused(SpaceError, "full", "MLflow's records", "mlflow.db"),
        explained_tracking_errors(URI),
    ):
        raise error
