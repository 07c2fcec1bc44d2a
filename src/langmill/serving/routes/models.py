"""`/v1/models` and `/v1/models/{id}`: what is served."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from fastapi import Request
from pydantic import BaseModel

from langmill.serving.jobs import LoadedVersion
from langmill.serving.routes.base import ROUTES, Route, routes_for
from langmill.tasks.base import Translates


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


class Origin(BaseModel):
    """What a model was made from, as far as its folder says."""

    corpus: str | None
    """The name of the corpus that it was trained on."""
    training_documents: int | None
    base: str | None
    """The recipe or pretrained model that it was fine-tuned from; null for one from scratch."""
    parameters: int | None
    provenance: str | None
    """The digest that ties it to its data, code and settings."""


class ModelCard(BaseModel):
    """A model in service."""

    id: str
    object: str = "model"
    created: int
    owned_by: str = "langmill"
    version: int
    description: str
    """What it is for, in a sentence; empty where the registry does not say."""
    origin: Origin
    abilities: list[str]
    """What it can be asked for: `generates`, `chats`, `translates`, `classifies`, `embeds`, and those of plug-ins."""
    endpoints: list[str]
    examples: dict[str, dict[str, Any]]
    """By endpoint, a body that suits the model, without `model`."""
    labels: list[str]
    max_prompt_tokens: int
    max_tokens: int | None
    """Tokens of an answer; null for a model that writes none."""
    context_length: int
    defaults: Defaults | None
    beside: dict[str, int]
    """Versions that are not in service and can be asked as well: their numbers, by the name to ask for."""
    languages: list[str | None] | None
    """Of source and target; null for a model that does not translate."""
    metrics: dict[str, Any]
    """How its version was judged when it was registered: `metric`, `value`, `low` and `high` (an interval of 95%);
    which values are `better`, `higher` or `lower`; what part of the test documents was `judged`, if not all; and what
    others reach, as `unigram 2.7`: `trivial_baseline`, `strong_baseline` and the `base` before tuning. What is not
    known is left out."""


class ModelList(BaseModel):
    """The models in service."""

    object: str = "list"
    data: list[ModelCard]


class _Cards(Route[None]):
    """A route that describes models."""

    method = "GET"

    def card(self, loaded: LoadedVersion) -> ModelCard:
        """The description of a version in service."""
        model, settings = loaded.model, self.service.settings
        task, routes = model.task, routes_for(model.task)
        config, max_tokens = model.generation_config, min(settings.max_new_tokens, model.max_length)
        defaults = None
        if config is not None:
            beams = config.num_beams if config.num_beams <= settings.max_beams else 1
            limited = {"max_tokens": min(config.max_new_tokens, max_tokens), "num_beams": beams}
            values = {**dataclasses.asdict(config), **limited}
            defaults = Defaults(**{name: values[name] for name in Defaults.model_fields})
        registered = self.service.follower.alias_states[loaded.name].loaded
        return ModelCard(
            id=loaded.name,
            created=self.service.started,
            version=loaded.version,
            description=registered.description if registered and registered.version == loaded.version else "",
            origin=_origin(model.manifest),
            abilities=sorted({route.ability.__name__.lower() for route in routes if route.ability is not None}),
            endpoints=[route.path for route in routes],
            examples={route.path: route.example_for(task) for route in routes},
            labels=list(task.labels),
            max_prompt_tokens=self.service.prompt_limit(loaded),
            max_tokens=max_tokens if defaults else None,
            context_length=model.max_length,
            defaults=defaults,
            beside=self.service.beside.known(loaded.name) if self.service.beside is not None else {},
            languages=list(task.languages) if isinstance(task, Translates) else None,
            metrics=dict(registered.metrics) if registered and registered.version == loaded.version else {},
        )


def _origin(manifest: Mapping[str, Any]) -> Origin:
    return Origin(
        corpus=(manifest.get("corpus") or {}).get("name"),
        training_documents=(manifest.get("training_split") or {}).get("documents"),
        base=(manifest.get("base") or {}).get("recipe"),
        parameters=manifest.get("parameters"),
        provenance=manifest.get("provenance"),
    )


@ROUTES.register("models")
class Models(_Cards):
    """What is served, in which version, and where to ask."""

    path = "/v1/models"
    response = ModelList

    async def handle(self, request: Request, body: None) -> ModelList:
        """List the models that have a version in service."""
        names = self.service.settings.recipes
        return ModelList(data=[self.card(loaded) for name in names if (loaded := self.service.engine.loaded(name))])


@ROUTES.register("model")
class Model(_Cards):
    """One model that is served."""

    path = "/v1/models/{id}"
    response = ModelCard

    async def handle(self, request: Request, body: None) -> ModelCard:
        """Describe it; 404 where there is none of this name, 503 where it has no version in service yet."""
        return self.card(self.loaded_version(request, request.path_params["id"]))
