"""Fields of a request that the server does not know: refused, or left out and told of."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.types import Message

from langmill.serving.schema import Place, place_of

log = logging.getLogger(__name__)
HEADER = "x-langmill-ignored"
"""The header of a response to a request whose unknown fields were left out, by their names."""
_MOST_NAMES = 20


class LenientRoute(APIRoute):
    """A route that leaves out the fields of a body that it does not know, and says so in a header and the log."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What answers a request."""
        strict = super().get_route_handler()

        async def lenient(request: Request) -> Response:
            try:
                return await strict(request)
            except RequestValidationError as error:
                unknown = [each["loc"] for each in error.errors() if each["type"] == "extra_forbidden"]
                if not unknown:
                    raise
                without = _without(json.loads(await request.body()), unknown)
            names = ", ".join(sorted({_shown(place) for place in unknown})[:_MOST_NAMES])
            log.warning("%s: fields that are not known were left out: %s", request.url.path, names)
            response = await strict(_with_body(request, json.dumps(without).encode()))
            response.headers[HEADER] = names
            return response

        return lenient


def _without(body: Any, places: Sequence[Place]) -> Any:
    """A body without the fields at some places, which are pydantic's."""
    for place in places:
        holder = body
        for part in place_of(place[1:-1], body):  # the first one is "body"
            holder = holder[part]
        if isinstance(holder, dict):
            holder.pop(place[-1], None)
    return body


def _with_body(request: Request, body: bytes) -> Request:
    """The same request with another body; what comes after the body (the client's leaving) is the same."""
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return left.pop() if left else await request.receive()

    return Request(request.scope, receive)


def _shown(place: Place) -> str:
    return ascii(place[-1])[1:-1][:60]
