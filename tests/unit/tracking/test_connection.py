from __future__ import annotations

import socket
import sys

import pytest

from langmill.errors import TrackingError, TransientError
from langmill.tracking.connection import connect
from tests.refused import refused

pytestmark = pytest.mark.unit


def test_a_missing_driver_is_said_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg2", None)  # as where it is not installed
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        address = f"postgresql://me:secret@127.0.0.1:{server.getsockname()[1]}/mlflow"
        with refused(TrackingError, "not_importable", "psycopg2", "`pip install psycopg2-binary`") as told:
            connect(address)
    assert "secret" not in str(told.value)
    assert not isinstance(told.value, TransientError)
