"""Who may ask: keys, and names by which the server is called."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from typing import Any

import httpx
import pytest

from langmill.errors import ServingError
from langmill.serving import keys
from langmill.serving.keys import Grant, KeyRing, Scope, key_line, read_keys
from tests.refused import refused
from tests.unit.serving.conftest import CLASSIFY, COMPLETIONS, J, Server, W

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


def test_a_key_that_may_ask_may_not_administer(server: Server, tmp_path: Any) -> None:
    path = tmp_path / "keys"
    lines = [key_line("asks", Scope.ask), key_line("runs", Scope.administer) + "  # the operator"]
    path.write_text("\n".join(lines), encoding="utf-8")
    server.keys = read_keys(str(path))
    asks, runs = ({"authorization": f"Bearer {key}"} for key in ("asks", "runs"))
    assert server.ask("POST", CLASSIFY, json=J, headers=asks).status_code == 200
    refusal = server.ask("GET", "/metrics", headers=asks)
    assert (refusal.status_code, refusal.json()["error"]["code"]) == (403, "insufficient_scope")
    assert server.ask("GET", "/metrics", headers=runs).status_code == 200
    assert "reasons" not in server.ask("GET", "/ready", headers=asks).json()
    assert "reasons" in server.ask("GET", "/ready", headers=runs).json()
    with refused(ServingError, "impossible"):
        key_line("clé")


def test_keys_are_read_again_when_their_file_changes(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "_LOOK_SECONDS", 0.0)
    path = tmp_path / "keys"
    path.write_text(key_line("first") + "\n", encoding="utf-8")
    path.chmod(0o600)
    ring = KeyRing(str(path))
    assert ring.warning is None
    assert (ring.find("first") is not None, ring.find("second")) == (True, None)
    path.write_text(key_line("second") + "\n", encoding="utf-8")
    assert (ring.find("first"), ring.find("second") is not None) == (None, True)
    path.write_text("nonsense\n", encoding="utf-8")
    assert ring.find("second") is not None, "a damaged file locks nobody out"
    path.unlink()
    assert ring.find("second") is not None
    path.write_text(key_line("third") + "\n", encoding="utf-8")
    path.chmod(0o644)
    assert ring.find("third") is not None
    assert "chmod 600" in str(ring.warning)


def test_one_key_leaves_room_for_the_others(server: Server) -> None:
    server.settings = replace(server.settings, key_share=0.5)  # of two that run and one that waits
    server.keys = [Grant(hashlib.sha256(key).digest()) for key in (b"greedy", b"modest")]
    server.writer.seconds = 0.02

    async def talk() -> tuple[list[httpx.Response], httpx.Response]:
        async with server.client() as client:
            asked = [
                asyncio.create_task(client.post(COMPLETIONS, json=W, headers={"authorization": "Bearer greedy"}))
                for _ in range(3)
            ]
            await asyncio.sleep(0.1)
            modest = await client.post(CLASSIFY, json=J, headers={"authorization": "Bearer modest"})
            return await asyncio.gather(*asked), modest

    greedy, modest = asyncio.run(talk())
    assert sorted(each.status_code for each in greedy) == [200, 429, 429]
    refusal = next(each for each in greedy if each.status_code == 429)
    assert (refusal.json()["error"]["code"], refusal.headers["retry-after"]) == ("rate_limited", "1")
    assert modest.status_code == 200


def test_a_request_for_several_texts_has_as_many_places(server: Server) -> None:
    server.keys = [Grant(hashlib.sha256(b"greedy").digest())]

    async def talk() -> list[int]:
        async with server.client() as client:
            client.headers["authorization"] = "Bearer greedy"

            def post(n: int) -> Any:
                return client.post(COMPLETIONS, json={**W, "n": n, "max_tokens": 50})

            server.writer.seconds = 0.05
            first = asyncio.create_task(post(2))
            while server.engine.load < 2:
                await asyncio.sleep(0.005)
            second, third = await post(2), asyncio.create_task(post(1))
            while server.engine.load < 3:
                await asyncio.sleep(0.005)
            server.writer.seconds = 0
            answers = [await first, second, await third, await post(3)]  # what was taken was given back
            return [each.status_code for each in answers]

    server.settings = replace(server.settings, key_share=1.0)  # of two that run and one that waits
    assert asyncio.run(talk()) == [200, 429, 200, 200]
    server.settings = replace(server.settings, key_share=0.7)
    headers = {"authorization": "Bearer greedy"}
    several = [server.ask("POST", COMPLETIONS, json={**W, "n": n}, headers=headers).status_code for n in (3, 2)]
    assert several == [400, 200]


def test_scripts_of_other_pages_may_not_ask_unless_they_are_let_in(server: Server) -> None:
    server.keys = (hashlib.sha256(b"key").digest(),)
    asks = {"origin": "https://app.example.org", "access-control-request-method": "POST"}
    assert server.ask("OPTIONS", COMPLETIONS, headers=asks).status_code == 401
    server.settings = replace(server.settings, cors_origins=["https://app.example.org"])
    allowed = server.ask("OPTIONS", COMPLETIONS, headers=asks)
    assert allowed.headers["access-control-allow-origin"] == "https://app.example.org"
    others = server.ask("OPTIONS", COMPLETIONS, headers={**asks, "origin": "https://evil.example.org"})
    assert "access-control-allow-origin" not in others.headers
