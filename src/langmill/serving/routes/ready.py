"""`/ready`: for whoever sends requests here."""

from __future__ import annotations

from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from langmill.serving.routes.base import ROUTES, Route


class Readiness(BaseModel):
    """How it stands with the server and each model."""

    ready: bool
    reasons: list[str] = []
    """Left out without a key."""
    models: dict[str, dict[str, Any]]


@ROUTES.register("ready")
class Ready(Route[None]):
    """Every model has a version in service and nothing has died; else 503. The reasons are for those who have a key."""

    path = "/ready"
    method = "GET"
    response = Readiness
    is_public = True
    is_probe = True

    async def handle(self, request: Request, body: None) -> Response:
        """Answer 503 with the reasons while a request for some model would fail."""
        service = self.service
        reasons = [failure for failure in (service.engine.failure(), service.follower.failure()) if failure]
        if service.engine.draining:
            reasons.append("The server is stopping.")
        models = {}
        for name in service.settings.recipes:
            state = service.follower.alias_states[name]
            if state.loaded is None:
                reasons.append(f"{name} has no version in service: {state.why_not}")
            models[name] = state.describe() if request.state.known else {"ready": state.loaded is not None}
        shown = {"reasons": reasons} if request.state.known else {}
        return JSONResponse({"ready": not reasons, **shown, "models": models}, 503 if reasons else 200)
