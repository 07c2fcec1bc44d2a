"""`/`: a page for people."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from importlib.resources import files

from fastapi import Request, Response
from fastapi.responses import HTMLResponse

from langmill.serving.routes.base import ROUTES, Route, all_routes
from langmill.serving.service import Service


@ROUTES.register("page")
class Page(Route[None]):
    """A page to try the models at."""

    path = "/"
    method = "GET"
    response_class = HTMLResponse
    is_public = True
    in_schema = False

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        page, script = (
            (files("langmill.serving") / f"playground.{kind}").read_text(encoding="utf-8") for kind in ("html", "js")
        )
        page = page.replace("{{script}}", script)
        routes = {
            route.path: {"example": dict(route.example), "view": route.page_view}
            for route in all_routes().values()
            if route.ability is not None
        }
        self._page = page.replace("{{routes}}", html.escape(json.dumps(routes)))
        policy = (
            f"default-src 'none'; script-src {_source(page, 'script')}; style-src {_source(page, 'style')}; "
            "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        self._headers = {
            "content-security-policy": policy,
            "x-content-type-options": "nosniff",
            "cache-control": "no-cache",
        }

    async def handle(self, request: Request, body: None) -> Response:
        """Send the page."""
        return HTMLResponse(self._page, headers=self._headers)


def _source(page: str, tag: str) -> str:
    """The hash by which the policy allows what stands inside the page's one script or style, and nothing else."""
    inside = re.search(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    assert inside is not None
    return "'sha256-" + base64.b64encode(hashlib.sha256(inside[1].encode()).digest()).decode() + "'"
