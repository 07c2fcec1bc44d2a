"""`/live`: for whoever restarts the server."""

from __future__ import annotations

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from langmill.serving.routes.base import ROUTES, Route


class Liveness(BaseModel):
    """Whether the models answer."""

    live: bool


@ROUTES.register("live")
class Live(Route[None]):
    """The process is up and its models answer: if not (503), only a restart helps."""

    path = "/live"
    method = "GET"
    response = Liveness
    is_public = True
    is_probe = True

    async def handle(self, request: Request, body: None) -> Response:
        """Answer 503 once the engine has ended or is stuck."""
        failure = self.service.engine.failure()
        return JSONResponse({"live": failure is None}, 200 if failure is None else 503)
