"""A client that hangs up: its work stops, and its place is free."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from langmill.serving.streaming import EventStream
from tests.unit.serving.conftest import COMPLETIONS, Server, W

pytestmark = pytest.mark.unit


def test_a_client_that_leaves_frees_the_engine(server: Server) -> None:
    """Spoken to in plain ASGI, since httpx's transport has no way to hang up."""
    server.writer.seconds = 0.01

    async def leave(stream: bool) -> list[Any]:
        body = json.dumps({**W, "max_tokens": 50, "stream": stream}).encode()
        sent: list[Any] = []
        inbox = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Any:
            if inbox:
                return inbox.pop()
            await asyncio.sleep(0.08)
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        async with server.client() as client:
            app = client._transport.app  # type: ignore[attr-defined]
            scope = {
                "type": "http", "method": "POST", "path": COMPLETIONS, "raw_path": COMPLETIONS.encode(),
                "query_string": b"", "headers": [(b"content-type", b"application/json")], "client": ("c", 1),
                "server": ("s", 1), "scheme": "http", "http_version": "1.1", "asgi": {"version": "3.0"},
            }  # fmt: skip
            await app(scope, receive, send)
        return sent

    for stream in (False, True):
        made = server.writer.tokens_made
        asyncio.run(leave(stream))
        for _ in range(100):
            if not server.engine.load:
                break
            asyncio.run(asyncio.sleep(0.01))
        assert server.engine.load == 0
        assert server.writer.tokens_made - made < 40
    assert math.isclose(server.sample("langmill_requests_cancelled_total") or 0, 2)


def test_a_client_that_leaves_before_the_first_event_cancels_its_stream() -> None:
    class ResponseStream:
        cancelled = False

        def cancel(self) -> None:
            self.cancelled = True

    async def events() -> AsyncIterator[dict[str, Any]]:
        yield {"text": "never read"}

    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def send(message: object) -> None:
        raise OSError("the client has gone")

    stream = ResponseStream()
    response = EventStream(events(), stream)  # type: ignore[arg-type]
    scope = {"type": "http", "asgi": {"spec_version": "2.4"}}
    with contextlib.suppress(ClientDisconnect):
        asyncio.run(response(scope, receive, send))  # type: ignore[arg-type]
    assert stream.cancelled
