"""Who may ask: keys, and names by which the server is called."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from langmill.errors import ServingError
from langmill.serving.keys import key_line, read_keys
from tests.refused import refused
from tests.unit.serving.conftest import CLASSIFY, COMPLETIONS, J, Server

pytestmark = pytest.mark.unit


def test_wants_a_key_where_keys_are_set(server: Server, tmp_path: Any) -> None:
    lines = f"# who may ask\n{key_line('first-key')}\n\n  {key_line('second-key')}  # a laptop\n"
    (tmp_path / "keys").write_text(lines, encoding="utf-8")
    server.keys = read_keys(str(tmp_path / "keys"))
    assert len(server.keys) == 2
    assert "first-key" not in lines
    for path in ("/", "/live", "/ready"):
        assert server.ask("GET", path).status_code == 200, path
    digest = key_line("first-key")
    for headers in (
        {}, {"authorization": "Bearer wrong"}, {"authorization": "first-key"}, {"authorization": "Bearer"},
        {"authorization": f"Bearer {digest}"}, {"authorization": f"Bearer {digest.removeprefix('sha256:')}"},
    ):  # fmt: skip
        for method, path in (
            ("GET", "/v1/models"),
            ("POST", COMPLETIONS),
            ("POST", CLASSIFY),
            ("GET", "/openapi.json"),
            ("GET", "/metrics"),
        ):
            response = server.ask(method, path, headers=headers)
            assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key"), path
            assert response.headers["www-authenticate"] == "Bearer"
    for key in ("first-key", "second-key"):
        for path in ("/v1/models", "/metrics"):
            assert server.ask("GET", path, headers={"authorization": f"Bearer {key}"}).status_code == 200


def test_error_texts_are_for_those_with_a_key(server: Server) -> None:
    server.follower.alias_states["judge"].trouble = "The registry can't be asked: postgresql://me:secret@db"
    server.follower.alias_states["writer"].loaded = None
    server.keys = (hashlib.sha256(b"first-key").digest(),)
    response = server.ask("GET", "/ready")
    assert (response.status_code, response.json()) == (
        503,
        {"ready": False, "models": {"writer": {"ready": False}, "judge": {"ready": True}}},
    )
    shown = server.ask("GET", "/ready", headers={"authorization": "Bearer first-key"})
    assert (shown.status_code, len(shown.json()["reasons"])) == (503, 1)
    assert "secret" in shown.json()["models"]["judge"]["registry"]


def test_a_key_file_that_lets_nobody_in_is_refused(tmp_path: Any) -> None:
    with refused(ServingError, "missing", str(tmp_path / "none"), "langmill key >>"):
        read_keys(str(tmp_path / "none"))
    (tmp_path / "empty").write_text("# nobody\n", encoding="utf-8")
    with refused(ServingError, "too_few", str(tmp_path / "empty"), "langmill key >>"):
        read_keys(str(tmp_path / "empty"))
    assert read_keys(None) == ()


@pytest.mark.parametrize("clear", ["open-sesame", "0" * 64, "sha256:" + "0" * 63])
def test_a_key_in_clear_is_refused_and_not_shown(tmp_path: Any, clear: str) -> None:
    (tmp_path / "keys").write_text(f"{key_line('good')}\n{clear}\n", encoding="utf-8")
    with refused(ServingError, "unreadable", "Line 2", "`langmill key --convert") as found:
        read_keys(str(tmp_path / "keys"))
    assert clear not in str(found.value)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200), ("LOCALHOST:8000", 200), ("localhost.", 200), ("127.0.0.1:1", 200), ("[::1]:80", 200),
        ("server", 200), ("models.example.org", 200), ("192.0.2.7:8000", 200),
        ("evil.example", 403), ("evil.example:8000", 403), ("localhost.evil.example", 403), ("", 403),
        ("127.0.0.1.evil.example", 403), ("localhost@evil.example", 403), ("[::1]evil", 403), ("192.0.2.8", 403),
    ],
)  # fmt: skip
def test_answers_only_to_its_own_names(server: Server, host: str, status: int) -> None:
    server.settings = replace(server.settings, host="192.0.2.7", allowed_hosts=["Models.example.org"])
    for method, path in (("GET", "/live"), ("GET", "/"), ("GET", "/v1/models"), ("POST", CLASSIFY)):
        response = server.ask(method, path, headers={"host": host}, json=J if method == "POST" else None)
        assert response.status_code == status, path
        if status == 403:
            assert "add its name to serving.allowed_hosts" in response.json()["error"]["message"]
    server.settings.allowed_hosts.append("*")
    assert server.ask("GET", "/live", headers={"host": host}).status_code == 200
