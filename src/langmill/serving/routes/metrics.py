"""`/metrics`: for Prometheus."""

from __future__ import annotations

from fastapi import Request, Response
from fastapi.responses import PlainTextResponse

from langmill.serving.metrics import CONTENT_TYPE
from langmill.serving.routes.base import ROUTES, Route


@ROUTES.register("metrics")
class MetricsRoute(Route[None]):
    """Counters for Prometheus."""

    path = "/metrics"
    method = "GET"
    response_class = PlainTextResponse
    is_probe = True

    async def handle(self, request: Request, body: None) -> Response:
        """Answer in Prometheus's text format."""
        return Response(self.service.metrics.exposition(), media_type=CONTENT_TYPE)
