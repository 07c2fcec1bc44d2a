"""A route of another distribution: everything about the server knows of it, and the package is not touched."""

from __future__ import annotations

import hashlib
import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from langmill.errors import ServingError
from langmill.serving.routes.base import ROUTES, Route, all_routes
from langmill.serving.warm_up import warm_up
from tests.refused import refused
from tests.unit.installed import installed
from tests.unit.serving.conftest import Judge, Server, loaded_version

pytestmark = pytest.mark.unit
REPEAT = '''
from typing import ClassVar

from pydantic import BaseModel, Field

from langmill.serving.jobs import Job
from langmill.serving.routes.base import ROUTES, Route
from langmill.serving.schema import Body, Identified
from langmill.serving.streaming import EventStream, result_of
from langmill.tasks.base import Classifies


class RepeatBody(Body):
    text: str
    stream: bool = False


class RepeatResponse(Identified):
    texts: list[str]


class Repeat(Job[list[str]]):
    def __init__(self, loaded, text, times):
        super().__init__(loaded)
        self.text, self.times = text, times

    def steps(self):
        for number in range(1, self.times):
            yield None
        yield [self.text] * self.times


@ROUTES.register("toy_repeat")
class RepeatRoute(Route[RepeatBody]):
    """A text again and again."""

    path = "/v1/repeat/{times}"
    ability = Classifies
    body = RepeatBody
    response = RepeatResponse
    example: ClassVar = {"text": 'Say "cheese" & smile'}
    warmed: ClassVar = []

    async def handle(self, request, body):
        loaded = self.loaded_version(request, body.model)
        job = Repeat(loaded, body.text, int(request.path_params["times"]))
        if body.stream:
            stream = self.service.engine.submit(job)
            return EventStream(({"texts": texts} async for texts in stream), stream)
        return RepeatResponse(**loaded.identity, texts=await result_of(request, self.service.engine, job))

    @classmethod
    def warm_up(cls, loaded):
        cls.warmed.append(loaded.name)
'''


@pytest.fixture(autouse=True)
def repeat(tmp_path: Path) -> Iterator[None]:
    with installed(tmp_path / "site", ROUTES, "toy_repeat", REPEAT):
        yield


def ask(server: Server, times: int = 2, headers: Any = None, **fields: Any) -> httpx.Response:
    return server.ask(
        "POST", f"/v1/repeat/{times}", json={"model": "judge", "text": "a", **fields}, headers=headers or {}
    )


def test_it_answers_and_is_counted(server: Server) -> None:
    assert ask(server, 3).json() == {
        "model": "judge", "version": 7, "system_fingerprint": "judge:7", "texts": ["a", "a", "a"],
    }  # fmt: skip
    response = ask(server, 2, stream=True)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.text == 'data: {"texts": ["a", "a"]}\n\ndata: [DONE]\n\n'
    assert server.sample("langmill_requests_total", route="/v1/repeat/{times}", status="200") == 2
    assert server.engine.load == 0


def test_it_describes_itself(server: Server) -> None:
    server.keys = (hashlib.sha256(b"key").digest(),)
    schema = server.ask("GET", "/openapi.json", headers={"authorization": "Bearer key"}).json()
    about = schema["paths"]["/v1/repeat/{times}"]["post"]
    assert (about["description"], about["summary"]) == ("A text again and again.", "Toy Repeat")
    assert [(each["name"], each["in"]) for each in about["parameters"]] == [("times", "path")]
    body = about["requestBody"]["content"]["application/json"]
    assert body["schema"] == {"$ref": "#/components/schemas/RepeatBody"}
    assert body["examples"]["toy_repeat"]["value"] == {"model": "NAME", "text": 'Say "cheese" & smile'}
    answer = about["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer == {"$ref": "#/components/schemas/RepeatResponse"}
    statuses = {"200", "400", "401", "403", "404", "408", "413", "415", "429", "431", "500", "503", "default"}
    assert set(about["responses"]) == statuses
    assert about["responses"]["401"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/Refusal"
    }
    assert about["security"] == [{"HTTPBearer": []}]
    assert "security" not in schema["paths"]["/live"]["get"]


def test_models_and_page_say_what_can_be_asked(server: Server) -> None:
    cards = {card["id"]: card["endpoints"] for card in server.ask("GET", "/v1/models").json()["data"]}
    assert cards == {"writer": ["/v1/completions"], "judge": ["/v1/classify", "/v1/repeat/{times}"]}
    found = re.search(r'<body data-routes="([^"]*)" data-server="([^"]*)">', server.ask("GET", "/").text)
    assert found is not None
    routes = json.loads(html.unescape(found[1]))
    fields = ["model", "user", "text", "stream"]
    assert routes["/v1/repeat/{times}"] == {
        "example": {"text": 'Say "cheese" & smile'},
        "view": "json",
        "fields": fields,
    }
    told = json.loads(html.unescape(found[2]))
    assert (told["limits"], told["paths"]["votes"]) == ({"max_inputs": 10, "max_body_bytes": 4096}, "/v1/votes")
    assert (routes["/v1/completions"]["view"], routes["/v1/classify"]["view"]) == ("text", "labels")
    assert "/v1/" not in found.string[found.end() :].replace('href="/v1/models"', "")


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"model": "writer"}, 400, "writer can't be asked at /v1/repeat/{times}; ask it at /v1/completions."),
        ({"model": "?"}, 404, "no model '?' here"),
        ({"txt": "a"}, 400, "txt is not a field of this request; did you mean text?"),
        ({"text": 5}, 400, "text is 5; it must be a text"),
        ({"text": "x" * 5000}, 413, "larger than 4096 bytes"),
    ],
)
def test_it_is_limited_as_all_are(server: Server, fields: dict[str, Any], status: int, words: str) -> None:
    response = ask(server, **fields)
    assert response.status_code == status
    assert words in response.json()["error"]["message"]


def test_it_wants_the_key_and_room(server: Server) -> None:
    server.keys = (hashlib.sha256(b"key").digest(),)
    assert ask(server).status_code == 401
    assert ask(server, headers={"authorization": "Bearer key"}).status_code == 200
    server.engine.drain()
    refused = ask(server, headers={"authorization": "Bearer key"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "stopping")


def test_it_warms_a_new_version_up() -> None:
    warm_up(loaded_version("judge", 1, Judge()))
    assert all_routes()["toy_repeat"].warmed == ["judge"]  # type: ignore[attr-defined]


def test_two_at_one_path_are_refused(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(all_routes()["toy_repeat"], "path", "/v1/classify")
    with refused(ServingError, "duplicate", "classify and toy_repeat", "/v1/classify"):
        server.ask("GET", "/live")


@pytest.mark.parametrize("name", ["classify", "completions"])
def test_answers_are_as_the_api_describes_them(server: Server, name: str) -> None:
    route = all_routes()[name]
    model = "judge" if name == "classify" else "writer"
    answer = server.ask("POST", route.path, json={"model": model, **route.example}).json()
    assert route.response.model_validate(answer).model_dump(mode="json") == answer


def test_every_route_of_ours_is_one() -> None:
    assert {"live", "ready", "metrics", "models", "page", "completions", "classify"} <= set(all_routes())
    assert all(issubclass(route, Route) and route.__doc__ for route in all_routes().values())
