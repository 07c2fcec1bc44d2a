"""`/metrics`: for Prometheus."""

from __future__ import annotations

from fastapi import Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from langmill.serving.keys import Scope
from langmill.serving.routes.base import ROUTES, Route


@ROUTES.register("metrics")
class MetricsRoute(Route[None]):
    """Counters for Prometheus."""

    path = "/metrics"
    method = "GET"
    response_class = PlainTextResponse
    scope = Scope.administer
    is_probe = True

    async def handle(self, request: Request, body: None) -> Response:
        """Answer in Prometheus's text format."""
        return Response(generate_latest(self.service.metrics.registry), media_type=CONTENT_TYPE_LATEST)
