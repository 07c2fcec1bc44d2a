"""Taking the port and reading the keys, before anything heavy."""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from langmill.config.sections import Serving
from langmill.errors import ServingError
from langmill.serving.server import listen, serve
from langmill.workspace import Workspace
from tests.refused import refused

pytestmark = pytest.mark.unit


def test_a_port_in_use_is_named_with_its_holder() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with refused(ServingError, "busy", f"Port {port} on 127.0.0.1", f"process {os.getpid()}", "serving.port"):
            listen("127.0.0.1", port)
    listen("127.0.0.1", port).close()  # free again at once


def test_a_host_that_is_none_is_refused() -> None:
    with refused(ServingError, "unknown", "serving.host 'no such host'"):
        listen("no such host", 0)
    with refused(ServingError, "impossible", "203.0.113.1", "serving.host"):
        listen("203.0.113.1", 0)


def test_connections_wait_until_the_server_is_up() -> None:
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname(), timeout=1):
        pass


def test_refuses_before_anything_heavy_is_imported(settings: Serving, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from langmill.serving.server import listen, serve\n"
        "from langmill.errors import ServingError\n"
        "from langmill.workspace import Workspace\n"
        "taken = listen('127.0.0.1', 0)\n"
        "settings = type('S', (), {'host': '127.0.0.1', 'port': taken.getsockname()[1], 'api_keys_file': None})\n"
        "try:\n"
        "    serve(settings, 'sqlite:///none.db', Workspace())\n"
        "except ServingError as error:\n"
        "    print('torch' in sys.modules, 'mlflow' in sys.modules, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.startswith("False False Port ")


def test_a_missing_key_file_is_an_error_at_the_start(settings: Serving, tmp_path: Path) -> None:
    settings = dataclasses.replace(settings, api_keys_file=str(tmp_path / "none"))
    with refused(ServingError, "missing", "serving.api_keys_file"):
        serve(settings, "sqlite:///none.db", Workspace(tmp_path))
