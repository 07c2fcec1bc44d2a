"""`/v1/models`: what is served."""

from __future__ import annotations

import dataclasses
from typing import Any

from fastapi import Request
from pydantic import BaseModel

from langmill.serving.jobs import LoadedVersion
from langmill.serving.routes.base import ROUTES, Route, routes_for


class Defaults(BaseModel):
    """What a request for a text has where it does not say: as the version's `generation_config.json`, within limits."""

    max_tokens: int
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repetition_penalty: float
    num_beams: int
    length_penalty: float


class ModelCard(BaseModel):
    """A model in service."""

    id: str
    object: str = "model"
    created: int
    owned_by: str = "langmill"
    version: int
    endpoints: list[str]
    examples: dict[str, dict[str, Any]]
    """By endpoint, a body that suits the model, without `model`."""
    labels: list[str]
    max_prompt_tokens: int
    max_tokens: int | None
    """Tokens of an answer; null for a model that writes none."""
    context_length: int
    defaults: Defaults | None


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
        model, settings = loaded.model, self.service.settings
        config, max_tokens = model.generation_config, min(settings.max_new_tokens, model.max_length)
        defaults = None
        if config is not None:
            beams = config.num_beams if config.num_beams <= settings.max_beams else 1
            limited = {"max_tokens": min(config.max_new_tokens, max_tokens), "num_beams": beams}
            defaults = Defaults(**{**dataclasses.asdict(config), **limited})
        return ModelCard(
            id=loaded.name,
            created=self.service.started,
            version=loaded.version,
            endpoints=[route.path for route in routes_for(model.task)],
            examples={route.path: route.example_for(model.task) for route in routes_for(model.task)},
            labels=list(model.task.labels),
            max_prompt_tokens=self.service.prompt_limit(loaded),
            max_tokens=max_tokens if defaults else None,
            context_length=model.max_length,
            defaults=defaults,
        )
