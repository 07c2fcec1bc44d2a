from __future__ import annotations

import errno
import sqlite3

import pytest
from mlflow.exceptions import MlflowException

from langmill.errors import SpaceError, TrackingError, TrackingUnreachableError, TransientError
from langmill.tracking.explained import explained_tracking_errors
from tests.unit.tracking.logs import URI

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), TrackingUnreachableError),
        (ConnectionRefusedError("refused"), TrackingUnreachableError),
        (TimeoutError("timed out"), TrackingUnreachableError),
        (OSError(errno.EHOSTUNREACH, "No route to host"), TrackingUnreachableError),
        (sqlite3.OperationalError("database is locked"), TrackingUnreachableError),
        (PermissionError(errno.EACCES, "Permission denied"), TrackingError),
        (sqlite3.OperationalError("unable to open database file"), TrackingError),
        (sqlite3.DatabaseError("file is not a database"), TrackingError),
    ],
)
def test_only_what_may_pass_is_transient(error: Exception, kind: type[Exception]) -> None:
    with pytest.raises(TrackingError) as caught, explained_tracking_errors("http://me:secret@server:5000"):
        raise error
    assert type(caught.value) is kind
    assert isinstance(caught.value, TransientError) == (kind is TrackingUnreachableError)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ModuleNotFoundError("No module named 'pyodbc'", name="pyodbc"), "package pyodbc, .*`pip install pyodbc`"),
        (ModuleNotFoundError("No module named 'boto3'", name="boto3"), "package boto3, .*`pip install boto3`"),
        (
            ModuleNotFoundError("No module named 'google.cloud'", name="google.cloud"),
            r"package google\.cloud, .*`pip install google-cloud-storage`",
        ),
        (ModuleNotFoundError("Get me libhdfs"), "a Python package that is not installed; install it: Get me libhdfs"),
    ],
)
def test_any_missing_package_is_said_with_its_remedy(error: Exception, sentence: str) -> None:
    with pytest.raises(TrackingError, match=sentence) as told, explained_tracking_errors("mssql://me:s3cret@db/x"):
        raise error
    assert "s3cret" not in str(told.value)


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
        pytest.raises(SpaceError, match=r"No space is left on the disk that holds MLflow's records at .*mlflow\.db"),
        explained_tracking_errors(URI),
    ):
        raise error
