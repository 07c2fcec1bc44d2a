"""What every route works with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from langmill.config.sections import Serving
from langmill.errors import RequestError
from langmill.serving.alias_state import AliasState
from langmill.serving.chosen import chosen
from langmill.serving.engine import Engine
from langmill.serving.jobs import LoadedVersion
from langmill.serving.metrics import Metrics
from langmill.serving.trial.trials import Trials

SEPARATOR = "@"
"""Between a model's name and an alias of one of its versions, in the name that a request asks for."""


class Followed(Protocol):
    """What the routes need to know of the follower."""

    @property
    def alias_states(self) -> dict[str, AliasState]:
        """The state of each model."""

    def failure(self) -> str | None:
        """Why nothing is followed any more."""


class OtherVersions(Protocol):
    """Versions that are not in service and can be asked all the same: `langmill.serving.beside.Beside`."""

    def known(self, name: str) -> dict[str, int]:
        """Those of a model: their numbers, by the name to ask for, `NAME@previous`."""

    def in_memory(self, name: str, alias: str) -> LoadedVersion | None:
        """One that is loaded already. Raises RequestError where there is none of this alias."""

    def loaded(self, name: str, alias: str) -> LoadedVersion:
        """One that answers; takes seconds. Raises RequestError where there is none, or it can't."""


@dataclass(frozen=True)
class Service:
    """The server as its routes see it."""

    settings: Serving
    engine: Engine
    follower: Followed
    metrics: Metrics
    started: int
    """Seconds since the epoch."""
    trials: Trials | None = None
    """What is tried on live traffic."""
    beside: OtherVersions | None = None
    """What may be asked beside the versions in service."""

    def find(self, name: str) -> LoadedVersion:
        """The version that answers for a model.

        Raises RequestError where the model is unknown (404) or has no version in service yet (503).
        """
        loaded = chosen(name) or self.engine.loaded(name)
        if loaded is not None:
            return loaded
        if name in self.settings.recipes:
            raise RequestError(
                f"{name} has no version in service yet; /ready says why.", 503, "model", "model_not_ready"
            )
        known = ", ".join(self.settings.recipes)
        raise RequestError(f"There is no model {name!r} here; served: {known}.", 404, "model", "model_not_found")

    def refuse_many(self, texts: Sequence[object]) -> None:
        """Refuse more texts in one request, as `input`, than are allowed, with a RequestError."""
        most = self.settings.max_inputs
        if len(texts) > most:
            raise RequestError(f"input holds {len(texts)} texts; up to {most} are allowed.", 400, "input")

    def prompt_limit(self, loaded: LoadedVersion) -> int:
        """Tokens of a prompt, at most."""
        return min(self.settings.max_prompt_tokens, loaded.model.max_length)
