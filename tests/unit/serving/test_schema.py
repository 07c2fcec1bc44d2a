"""What `/openapi.json` promises, against generated requests (Schemathesis), and fields that it does not know."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from langmill.config.sections.serving import UnknownFields
from langmill.serving.app import build_app
from langmill.serving.keys import KeyRing, digest
from langmill.serving.metrics import Metrics
from langmill.serving.routes.base import all_routes
from langmill.serving.service import Service
from tests.unit.serving.conftest import COMPLETIONS, Quiet, Server, W, completion
from tests.unit.serving.small_server import KEY, MODELS, SmallServer

pytestmark = pytest.mark.unit
HEADERS = {"Authorization": f"Bearer {KEY}"}
ASKED = sorted((route.path, route.method) for route in all_routes().values() if route.in_schema)
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
RUN = settings(max_examples=12, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def api(small: SmallServer) -> Any:
    return schemathesis.openapi.from_url(f"{small.url}/openapi.json", headers=HEADERS)


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.name.lower())
@pytest.mark.parametrize(("path", "method"), ASKED)
def test_generated_requests(api: Any, path: str, method: str, mode: GenerationMode) -> None:
    operation = api[path][method]
    if mode is GenerationMode.NEGATIVE and method == "GET" and "{" not in path:
        pytest.skip("nothing about it can be wrong")
    asked = 0

    @given(case=operation.as_strategy(generation_mode=mode))
    @RUN
    def ask(case: Any) -> None:
        nonlocal asked
        names = [*MODELS, "nobody"]
        if mode is GenerationMode.POSITIVE and isinstance(case.body, dict) and "model" in case.body:
            case.body["model"] = names[asked % len(names)]  # else it would be a name that nobody has
        asked += 1
        checks = [*CHECKS, negative_data_rejection] if mode is GenerationMode.NEGATIVE else CHECKS
        case.call_and_validate(headers=HEADERS, checks=checks)

    ask()


def test_every_route_says_which_key_it_wants(small: SmallServer) -> None:
    paths = httpx.get(f"{small.url}/openapi.json", headers=HEADERS).json()["paths"]
    for route in all_routes().values():
        if route.in_schema:
            about = paths[route.path][route.method.lower()]
            assert ("security" in about, "401" in about["responses"]) == (not route.is_public,) * 2
            assert {"500", "431"} <= set(about["responses"])


def test_unknown_fields_are_left_out_where_the_server_is_told_to(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    body = {**W, "chat_id": "7", "stream_options": {"odd": 1}, "max_tokens": 3}
    assert completion(server, chat_id="7").json()["error"]["param"] == "chat_id"
    server.settings = dataclasses.replace(server.settings, unknown_fields=UnknownFields.warn)
    with caplog.at_level(logging.WARNING):
        found = server.ask("POST", COMPLETIONS, json=body)
    assert (found.status_code, found.json()["choices"][0]["text"]) == (200, "abc")
    assert found.headers["x-langmill-ignored"] == "chat_id, odd"
    assert "chat_id, odd" in caplog.text
    assert "x-langmill-ignored" not in completion(server).headers
    wrong = completion(server, chat_id="7", temperature=9)
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "temperature")


def test_open_webui_is_answered(small: SmallServer) -> None:
    """What its backend sends: the list of models, a streamed chat with fields of its own, and a title for it."""
    lenient = dataclasses.replace(small.settings, unknown_fields=UnknownFields.warn)
    service = Service(lenient, small.engine, Quiet(list(small.models)), Metrics(), 0)
    own = {
        "chat_id": "c-1", "session_id": "s-1", "id": "m-1", "features": {"web_search": False}, "variables": {},
        "tool_ids": [], "files": [], "background_tasks": {"title_generation": True}, "model_item": {"id": "chat"},
    }  # fmt: skip
    said = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "the film"}]
    headers = {**HEADERS, "X-OpenWebUI-User-Name": "Ann", "X-OpenWebUI-User-Email": "ann@example.org"}

    async def talk() -> list[httpx.Response]:
        transport = httpx.ASGITransport(build_app(service, KeyRing.fixed([digest(KEY)])))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as client:
            models = await client.get("/v1/models")
            asked = {"model": "chat", "messages": said, "temperature": 0, "max_tokens": 4, **own}
            streamed = {**asked, "stream": True, "stream_options": {"include_usage": True}}
            title = {**asked, "messages": said[1:], "stream": False}
            return [models, *[await client.post("/v1/chat/completions", json=body) for body in (streamed, title)]]

    models, stream, title = asyncio.run(talk())
    assert {"id", "object", "created", "owned_by"} <= models.json()["data"][0].keys()
    assert stream.headers["content-type"].startswith("text/event-stream")
    *events, usage, done = [line.removeprefix("data: ") for line in stream.text.split("\n\n") if line]
    assert done == "[DONE]"
    assert json.loads(usage)["usage"]["completion_tokens"] == 4
    assert "".join(json.loads(each)["choices"][0]["delta"].get("content") or "" for each in events)
    assert title.json()["choices"][0]["message"]["content"]
    assert stream.headers["x-langmill-ignored"] == title.headers["x-langmill-ignored"] == ", ".join(sorted(own))
