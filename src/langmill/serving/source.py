"""Asks the registry for champions without changing anything in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from langmill.errors import TrackingError
from langmill.models.folder import GENERATION_NAME, WEIGHTS_NAME
from langmill.registry.store import ModelRegistry
from langmill.registry.versions import CHAMPION, ModelVersion, Tag
from langmill.serving.alias_state import RegisteredVersion
from langmill.tracking.addresses import database_path

_BASELINES = {"trivial_baseline": Tag.trivial, "strong_baseline": Tag.strong, "base": Tag.base, "judged": Tag.judged}
_DIGESTS = {WEIGHTS_NAME: Tag.weights, GENERATION_NAME: Tag.generation}


class ChampionSource:
    """The registry as the follower needs it.

    A local database is read directly at every look: MLflow would make one where there is none, and would keep reading a
    file that has been removed or replaced.
    """

    def __init__(self, tracking_uri: str) -> None:
        self._registry = ModelRegistry(tracking_uri)
        self._database = database_path(tracking_uri)

    def champion(self, name: str) -> RegisteredVersion | None:
        """The version that the alias names; None before the first promotion.

        Raises:
            TrackingError: The registry can't be asked.
        """
        if self._database is None:
            found = self._registry.aliased(name, CHAMPION)
        elif self._database.is_file():
            aliased = self._registry.overview()
            found = next((each for each in aliased if each.name == name and CHAMPION in each.aliases), None)
        else:
            raise TrackingError(
                f"{self._database} does not exist; `langmill run` makes it, or put it back.", code="missing"
            )
        if found is None:
            return None
        digests = {file: found.tags[tag] for file, tag in _DIGESTS.items() if found.tags.get(tag)}
        return RegisteredVersion(found.version, found.provenance, digests, _metrics(found), found.description)

    def download(self, name: str, version: int, into: Path) -> Path:
        """Fill `into` with a version's model folder. Raises as `ModelRegistry.download` does."""
        return self._registry.download(name, version, into)


def _metrics(found: ModelVersion) -> dict[str, Any]:
    """How a version was judged: the metric that decides with its interval, and what baselines reach (`unigram 2.7`)."""
    metrics: dict[str, Any] = {}
    if found.decides is not None:
        metric, estimate = found.decides
        metrics = {"metric": metric, "value": estimate.value, "low": estimate.low, "high": estimate.high}
    return metrics | {name: found.tags[tag] for name, tag in _BASELINES.items() if found.tags.get(tag)}
