"""The HTTP application, built from the registered routes."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

from fastapi import Body, FastAPI, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import compile_path

from langmill import __version__
from langmill.config.sections import Backend, Serving
from langmill.config.sections.serving import UnknownFields
from langmill.errors import RequestError, ServingError
from langmill.serving.asked_by_alias import AskedByAlias
from langmill.serving.keys import KeyRing, Scope
from langmill.serving.middleware import Accounting, Framing, Heads, Hosts, Keys, Limits, Paths, Shares, refusal
from langmill.serving.routes.base import Route, all_routes
from langmill.serving.schema import Refusal, reason
from langmill.serving.service import Service
from langmill.serving.trial.mirror import Mirror
from langmill.serving.unknown_fields import LenientRoute

_SCHEMA_PATH = "/openapi.json"
_STATUSES = {
    400: "A field is missing, unknown, of the wrong type or out of bounds, or the text is too long.",
    401: "Keys are set, and the request has none of them.",
    403: "The header Host names a host that is not the server's, or the key may not ask for this.",
    404: "There is no such model.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    415: "The body is not sent as JSON.",
    429: "The key has asked for more than its share; the header Retry-After says when to come back.",
    431: "The headers are too large.",
    500: "The model or the server failed.",
    503: "The server is full or stopping, or the model has no version yet; Retry-After says when to come back.",
}
_ALWAYS = (403, 431, 500)


def build_app(service: Service, keys: KeyRing) -> FastAPI:
    """The application; an empty ring of keys is an open server.

    Raises:
        PlugInError: The code of another distribution's route can't be used.
        ServingError: Two routes are at the same path.
    """
    settings = service.settings
    routes = {name: route(service) for name, route in all_routes().items()}
    _refuse_twins(routes)
    app = FastAPI(
        title="Langmill", version=__version__, docs_url=None, redoc_url=None, openapi_url=_SCHEMA_PATH,
        redirect_slashes=False,  # behind a proxy with TLS it would send the client, and what it asks, to plain HTTP
    )  # fmt: skip
    if settings.unknown_fields is UnknownFields.warn:
        app.router.route_class = LenientRoute
    # The last one added is the outermost.
    if service.beside is not None:
        app.add_middleware(AskedByAlias, beside=service.beside, names=settings.recipes)
    asking = Paths(route.path for route in routes.values() if route.ability is not None)
    if Backend.vllm in settings.backends.values():
        from langmill.serving.relay import Relay  # and httpx with it, for which no other server waits

        app.add_middleware(Relay, engine=service.engine, settings=settings, paths=asking)
    if service.trials is not None:
        app.add_middleware(
            Mirror, trials=service.trials, has_room=lambda: service.engine.load < settings.max_running
        )  # fmt: skip
    app.add_middleware(Heads)
    app.add_middleware(Limits, max_bytes=settings.max_body_bytes, seconds=settings.body_seconds)
    public = Paths(route.path for route in routes.values() if route.is_public)
    app.add_middleware(Shares, limit=_share(settings), paths=asking)
    administrators = Paths(route.path for route in routes.values() if route.scope is Scope.administer)
    app.add_middleware(Keys, keys=keys, public=public, administrators=administrators)
    if settings.cors_origins:  # before the keys: a browser asks whether it may, without one
        app.add_middleware(
            CORSMiddleware, allow_origins=settings.cors_origins, allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type"], expose_headers=["retry-after"],
        )  # fmt: skip
    app.add_middleware(Framing)
    app.add_middleware(Hosts, allowed=[settings.host, *settings.allowed_hosts])
    paths = Paths([_SCHEMA_PATH, *(route.path for route in routes.values())])
    probes = Paths(route.path for route in routes.values() if route.is_probe)
    app.add_middleware(Accounting, metrics=service.metrics, paths=paths, probes=probes)
    _add_refusals(app, routes)
    for name, route in routes.items():
        _add(app, name, route, wants_key=bool(keys) and not route.is_public)
    return app


def _share(settings: Serving) -> int:
    """The requests that one key may have under way."""
    return max(1, int(settings.key_share * (settings.max_running + settings.max_waiting)))


def _refuse_twins(routes: dict[str, Route[Any]]) -> None:
    seen: dict[tuple[str, str], str] = {}
    for name, route in routes.items():
        other = seen.setdefault((route.method, route.path), name)
        if other != name:
            raise ServingError(
                f"The routes {other} and {name} are both at {route.path}; uninstall what brings one.", code="duplicate"
            )


def _add(app: FastAPI, name: str, route: Route[Any], *, wants_key: bool) -> None:
    async def endpoint(**given: Any) -> Response | BaseModel:
        return await route.handle(given["request"], given.get("body"))

    # FastAPI reads what a route takes from the signature.
    named: dict[str, Any] = {"request": Request, **dict.fromkeys(compile_path(route.path)[2], str)}
    if route.body is not None:
        example = {"model": "NAME", **route.example}
        named["body"] = Annotated[route.body, Body(openapi_examples={name: {"value": example}})]
    endpoint.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(each, inspect.Parameter.KEYWORD_ONLY, annotation=kind) for each, kind in named.items()]
    )
    app.add_api_route(
        route.path,
        endpoint,
        methods=[route.method],
        name=name,
        description=inspect.getdoc(type(route)),
        response_model=route.response,
        response_class=route.response_class,
        responses=_described(route, wants_key=wants_key),
        include_in_schema=route.in_schema,
        dependencies=[Security(HTTPBearer(auto_error=False))] if wants_key else [],
    )


def _described(route: Route[Any], *, wants_key: bool) -> dict[int | str, dict[str, Any]]:
    """Every status that a route answers with, for the API's description."""
    statuses = set(_ALWAYS)
    if wants_key:
        statuses |= {401, 403}
    if route.body is not None:
        statuses |= {400, 408, 413, 415}
    if route.ability is not None:
        statuses |= {429}
    if route.body is not None or "{" in route.path or route.response is not None:
        statuses |= {400, 404, 503}
    described: dict[int | str, dict[str, Any]] = {
        status: {"model": Refusal, "description": _STATUSES[status]} for status in sorted(statuses)
    }
    if route.is_probe and 503 in described:
        described[503] = {"model": route.response, "description": "Not now: the body says why."}
    if route.streams:
        # Of each event, as OpenAPI 3.2 has it in `itemSchema`; `data` is JSON, and "[DONE]" at the end.
        event = {"type": "object", "properties": {"data": {"type": "string"}}, "required": ["data"]}
        events = {"text/event-stream": {"schema": event}}
        described[200] = {"content": events, "description": "At once as JSON, or with `stream` as server-sent events."}
    # Without it FastAPI would describe a 422 of its own, where ours have 400.
    described["default"] = {"model": Refusal, "description": "A refusal."}
    return described


def _add_refusals(app: FastAPI, routes: dict[str, Route[Any]]) -> None:
    @app.exception_handler(RequestError)
    async def refused(_: Request, error: RequestError) -> JSONResponse:
        return refusal(error)

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            given = f"The body is sent as {kind[:60] or 'nothing in particular'}"
            return refusal(RequestError(f"{given}; send JSON, with the header Content-Type: application/json.", 415))
        message, param = reason(error.errors(), error.body, routes[request.scope["route"].name].body)
        return refusal(RequestError(message, 400, param))

    @app.exception_handler(HTTPException)
    async def unrouted(request: Request, error: HTTPException) -> JSONResponse:
        path = ascii(request.url.path)[1:-1][:100]
        messages = {
            400: "The body is not valid JSON.",
            404: f"There is nothing at {path}; try /v1/models.",
            405: f"{path} does not take {request.method} requests; send {(error.headers or {}).get('Allow')}.",
        }
        response = refusal(RequestError(messages.get(error.status_code, str(error.detail)), error.status_code))
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Exception)
    async def bug(_: Request, error: Exception) -> JSONResponse:
        return refusal(RequestError(f"A bug in the server ({type(error).__name__}); its log has the trace.", 500))
