"""Versions that are not in service, asked by their alias."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from langmill.serving import beside as module
from langmill.serving.alias_state import RegisteredVersion
from langmill.serving.app import build_app
from langmill.serving.beside import Beside
from langmill.serving.follower import Follower
from langmill.serving.jobs import LoadedVersion
from langmill.serving.keys import KeyRing
from langmill.serving.service import Service
from langmill.serving.version_cache import VersionCache
from tests.unit.serving.conftest import COMPLETIONS, Server, Shelf, Writer, loaded_version

pytestmark = pytest.mark.unit
CHAMPION, PREVIOUS, CHALLENGER = (RegisteredVersion(number, f"p{number}") for number in (3, 2, 4))


class World:
    """A server whose writer, version 3, has a previous version and a challenger; each writes its own number."""

    def __init__(self, server: Server, folder: Path, most: int = 1, elsewhere: tuple[str, ...] = ()) -> None:
        self.server, self.shelf = server, Shelf()
        self.shelf.alias = CHAMPION
        self.shelf.aliases = {"previous": PREVIOUS, "challenger": CHALLENGER}
        self.loads: list[int] = []
        self.cache = VersionCache(folder, self.load)
        self.beside = Beside(self.cache, most, elsewhere)
        self.follower = Follower(
            names=["writer"], connect=lambda: self.shelf, engine=server.engine, metrics=server.metrics,
            cache=self.cache, poll_seconds=0.02, say=lambda _: None, beside=self.beside,
        )  # fmt: skip
        self.look()

    def load(self, name: str, version: int, folder: Path) -> LoadedVersion:
        self.loads.append(version)
        return loaded_version(name, version, Writer(f"{version}"))

    def look(self) -> None:
        self.follower.look("writer")
        self.follower.look_at_aliases("writer")

    def ask(self, model: str, method: str = "POST", path: str = COMPLETIONS) -> httpx.Response:
        server = self.server

        async def once() -> httpx.Response:
            service = Service(
                server.settings, server.engine, server.follower, server.metrics, 0, beside=self.beside
            )  # fmt: skip
            transport = httpx.ASGITransport(build_app(service, KeyRing(None)), raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
                body = {"model": model, "prompt": "x", "temperature": 0} if method == "POST" else None
                return await client.request(method, path, json=body)

        return asyncio.run(once())

    def answer(self, model: str) -> tuple[str, int, str]:
        found = self.ask(model).json()
        return found["model"], found["version"], found["choices"][0]["text"]


@pytest.fixture
def world(server: Server, tmp_path: Path) -> World:
    return World(server, tmp_path)


def test_another_version_answers_by_its_alias_and_says_who_it_is(world: World) -> None:
    assert world.answer("writer") == ("writer", 3, "3")
    assert world.loads == [3], "nothing is loaded before it is asked"
    assert [world.answer("writer@previous") for _ in range(2)] == [("writer", 2, "2")] * 2
    assert world.answer("writer") == ("writer", 3, "3")
    assert world.loads == [3, 2]
    (card,) = [each for each in world.ask("", "GET", "/v1/models").json()["data"] if each["id"] == "writer"]
    assert card["beside"] == {"writer@previous": 2, "writer@challenger": 4}


def test_no_more_than_the_setting_are_in_memory(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("previous", "challenger", "challenger", "previous"):
        world.answer(f"writer@{name}")
    assert world.loads == [3, 2, 4, 2]
    monkeypatch.setattr(module, "_IDLE_SECONDS", -1.0)
    world.look()
    monkeypatch.undo()
    world.answer("writer@previous")
    assert world.loads == [3, 2, 4, 2, 2], "it had not been asked for a while"


def test_an_alias_that_moves_is_followed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.answer("writer@previous")
    world.shelf.alias, world.shelf.aliases = CHALLENGER, {"previous": CHAMPION}
    world.look()
    assert world.answer("writer") == ("writer", 4, "4")
    assert world.answer("writer@previous") == ("writer", 3, "3")
    refused = world.ask("writer@challenger")
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found")
    assert "writer@previous" in refused.json()["error"]["message"]
    world.shelf.aliases = {}
    world.look()
    assert world.ask("writer@previous").status_code == 200, "the registry is asked now and then"
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.0)
    world.look()
    assert world.ask("writer@previous").status_code == 404


def test_what_is_damaged_or_away_is_told(world: World) -> None:
    world.shelf.damaged.add(2)
    for _ in range(2):
        refused = world.ask("writer@previous")
        assert (refused.status_code, "damaged" in refused.json()["error"]["message"]) == (503, True)
    assert world.shelf.downloads == [3, 2, 2], "an unfit version is not fetched for every request"
    world.shelf.full_disk = True
    refused = world.ask("writer@challenger")
    assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
    world.shelf.full_disk = False
    assert world.answer("writer@challenger") == ("writer", 4, "4")


@pytest.mark.parametrize(("how", "words"), [({"most": 0}, "serving.max_beside"), ({"elsewhere": ("writer",)}, "vLLM")])
def test_a_server_may_offer_none(server: Server, tmp_path: Path, how: dict[str, Any], words: str) -> None:
    world = World(server, tmp_path, **how)
    refused = world.ask("writer@previous")
    assert (refused.status_code, words in refused.json()["error"]["message"]) == (404, True)
    assert world.beside.known("writer") == {}
    unknown = world.ask("nobody@previous")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")
