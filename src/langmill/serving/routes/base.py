"""What a route offers.

A route is one file: the models of its request and its response, a `Route`, and `ROUTES.register` over it. The
application, its description (`/openapi.json`), the counters of requests, the keys, the limits, `/v1/models` and the
warm-up of a new version and the page read all that they need from it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, Literal, TypeVar

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from langmill.errors import RequestError
from langmill.plugins import NoOptions, Registry
from langmill.serving.jobs import LoadedVersion
from langmill.serving.keys import Scope
from langmill.serving.service import Service
from langmill.tasks.base import Task

BodyT = TypeVar("BodyT", bound=BaseModel | None)


class Route(ABC, Generic[BodyT]):
    """One path of the server; the docstring describes it in the API.

    Args:
        service: What it works with.
    """

    options_class: ClassVar[type[Any]] = NoOptions
    path: ClassVar[str]
    """Where it is, as in `/v1/models/{id}`; what stands for a parameter is in `request.path_params`."""
    method: ClassVar[str] = "POST"
    ability: ClassVar[type[Any] | None] = None
    """What a model's task must offer to be asked here (`Generates`); None for a route that asks no model."""
    body: ClassVar[type[BaseModel] | None] = None
    """The request's body, of JSON; None for a request without one."""
    response: ClassVar[Any] = None
    """The model of the response; None where the API does not describe it."""
    response_class: ClassVar[type[Response]] = JSONResponse
    example: ClassVar[Mapping[str, Any]] = {}
    """A body as a person would send it, without `model`: for the API, the page and the terminal."""
    rank: ClassVar[int] = 1
    """Where it stands among the routes of one model: the first one is what the terminal and the page begin with."""
    page_view: ClassVar[Literal["chat", "text", "translation", "labels", "json"]] = "json"
    """How the page asks and shows a response: a conversation, in chat completions' shape; a text as it is streamed, in
    completions'; a translation beside its source; labels' probabilities, in classification's; or its JSON."""
    streams: ClassVar[bool] = False
    """Whether a request can ask for server-sent events in place of JSON."""
    is_public: ClassVar[bool] = False
    """Whether it is answered without a key."""
    scope: ClassVar[Scope] = Scope.ask
    """What a key must open for it, where keys are set."""
    is_probe: ClassVar[bool] = False
    """Whether it is asked every few seconds, for ever: counted, not logged."""
    in_schema: ClassVar[bool] = True
    """Whether the API describes it."""

    def __init__(self, service: Service) -> None:
        self.service = service

    @abstractmethod
    async def handle(self, request: Request, body: BodyT) -> Response | BaseModel:
        """Answer a request whose key, size and body have been checked; `body` is None for a route without one.

        Raises RequestError where it is refused; the client gets the sentence in OpenAI's shape.
        """

    @classmethod
    def example_for(cls, task: Task) -> dict[str, Any]:
        """A body that suits a model of this task, for the page and the terminal."""
        del task
        return dict(cls.example)

    @classmethod
    def warm_up(cls, loaded: LoadedVersion) -> None:
        """Ask a version that is not in service yet once, in the engine's way.

        Raises ModelError where what it answers is nonsense.
        """

    def loaded_version(self, request: Request, name: str) -> LoadedVersion:
        """The version that answers this request, which the log of requests then names.

        Raises:
            RequestError: The model is unknown (404), not ready (503), or does not offer what the route asks for (400).
        """
        loaded = self.service.find(name)
        request.state.answered_by = loaded.fingerprint
        if self.ability is not None and not isinstance(loaded.model.task, self.ability):
            others = " or ".join(route.path for route in routes_for(loaded.model.task))
            raise RequestError(f"{name} can't be asked at {self.path}; ask it at {others}.", 400, "model")
        return loaded


ROUTES: Registry[Route[Any]] = Registry("routes", Route, "langmill.serving.routes", "route")


def all_routes() -> dict[str, type[Route[Any]]]:
    """Every route by its name, other distributions' included. Raises PlugInError where one can't be imported."""
    return {name: ROUTES.find(name) for name in ROUTES.names()}


def routes_for(task: object) -> list[type[Route[Any]]]:
    """Where a model can be asked, by what its task offers; what suits it best first."""
    offered = (
        route for route in all_routes().values() if route.ability is not None and isinstance(task, route.ability)
    )
    return sorted(offered, key=lambda route: (route.rank, route.path))
