"""`/`: a page for people, and the files that it is made of."""

from __future__ import annotations

import html
import json
from importlib.resources import files
from typing import ClassVar

from fastapi import Request, Response
from fastapi.responses import HTMLResponse

from langmill.errors import RequestError
from langmill.serving.routes.base import ROUTES, Route, all_routes
from langmill.serving.service import Service

_FOLDER = files("langmill.serving") / "playground"
_INDEX = "index.html"
_TYPES = {"css": "text/css", "js": "text/javascript"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {"x-content-type-options": "nosniff", "cache-control": "no-cache", "referrer-policy": "no-referrer"}
_LINKS = {"models": "models", "ready": "ready", "metrics": "metrics"}
"""What the page links to for programs, by the route's name."""


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
        every = all_routes()
        routes = {
            route.path: {
                "example": dict(route.example),
                "view": route.page_view,
                "fields": list(route.body.model_fields) if route.body is not None else [],
            }
            for route in every.values()
            if route.ability is not None
        }
        limits = {"max_inputs": service.settings.max_inputs, "max_body_bytes": service.settings.max_body_bytes}
        paths = {name: route.path for name, route in every.items() if route.ability is None}
        links = [(text, paths[name]) for name, text in _LINKS.items() if name in paths]
        filled = {
            "routes": html.escape(json.dumps(routes)),
            "server": html.escape(json.dumps({"paths": paths, "limits": limits})),
            "files": PageFile.path.partition("/{")[0],
            "links": "".join(f'<a href="{html.escape(path)}">{html.escape(text)}</a>' for text, path in links),
        }
        self._page = (_FOLDER / _INDEX).read_text(encoding="utf-8")
        for name, text in filled.items():
            self._page = self._page.replace("{{" + name + "}}", text)

    async def handle(self, request: Request, body: None) -> Response:
        """Send the page."""
        page = self._page.replace("{{schema}}", html.escape(str(request.app.openapi_url)))
        return HTMLResponse(page, headers={**_HEADERS, "content-security-policy": _POLICY})


@ROUTES.register("page_file")
class PageFile(Route[None]):
    """The page's style and its scripts."""

    path = "/page/{name}"
    method = "GET"
    response_class = Response
    is_public = True
    in_schema = False
    names: ClassVar[frozenset[str]] = frozenset(item.name for item in _FOLDER.iterdir()) - {_INDEX}

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        self._files = {name: (_FOLDER / name).read_bytes() for name in self.names}

    async def handle(self, request: Request, body: None) -> Response:
        """Send one file, by its name."""
        name = request.path_params["name"]
        if name not in self._files:
            raise RequestError("There is no such file of the page.", 404)
        kind = _TYPES[name.rpartition(".")[2]]
        return Response(self._files[name], media_type=f"{kind}; charset=utf-8", headers=_HEADERS)
