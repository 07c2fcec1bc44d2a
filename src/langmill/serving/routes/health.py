"""`/health`: `/live` under the name that monitors of other servers ask for."""

from __future__ import annotations

from langmill.serving.routes.base import ROUTES
from langmill.serving.routes.live import Live


@ROUTES.register("health")
class Health(Live):
    """As `/live`, under the name that monitors of vLLM and of proxies ask for."""

    path = "/health"
