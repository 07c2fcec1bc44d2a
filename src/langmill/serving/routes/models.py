"""`/v1/models`: what is served."""

from __future__ import annotations

from fastapi import Request
from pydantic import BaseModel

from langmill.serving.engine import LoadedVersion
from langmill.serving.routes.base import ROUTES, Route, routes_for


class ModelCard(BaseModel):
    """A model in service."""

    id: str
    object: str = "model"
    created: int
    owned_by: str = "langmill"
    version: int
    endpoints: list[str]
    labels: list[str]
    max_prompt_tokens: int
    max_tokens: int
    context_length: int


class ModelList(BaseModel):
    """The models in service."""

    object: str = "list"
    data: list[ModelCard]


@ROUTES.register("models")
class Models(Route[None]):
    """What is served, in which version, and where to ask."""

    path = "/v1/models"
    method = "GET"
    response = ModelList

    async def handle(self, request: Request, body: None) -> ModelList:
        """List the models that have a version in service."""
        names = self.service.settings.recipes
        return ModelList(data=[self._card(loaded) for name in names if (loaded := self.service.engine.loaded(name))])

    def _card(self, loaded: LoadedVersion) -> ModelCard:
        model = loaded.model
        return ModelCard(
            id=loaded.name,
            created=self.service.started,
            version=loaded.version,
            endpoints=[route.path for route in routes_for(model.task)],
            labels=list(model.task.labels),
            max_prompt_tokens=self.service.prompt_limit(loaded),
            max_tokens=min(self.service.settings.max_new_tokens, model.max_length),
            context_length=model.max_length,
        )
