"""Asks the registry for champions without changing anything in it."""

from __future__ import annotations

from pathlib import Path

from langmill.errors import TrackingError
from langmill.registry.store import ModelRegistry
from langmill.registry.versions import CHAMPION, ModelVersion
from langmill.tracking.addresses import database_path


class ChampionSource:
    """The registry as the follower needs it.

    A local database is read directly at every look: MLflow would make one where there is none, and would keep reading a
    file that has been removed or replaced.
    """

    def __init__(self, tracking_uri: str) -> None:
        self._registry = ModelRegistry(tracking_uri)
        self._database = database_path(tracking_uri)

    def champion(self, name: str) -> ModelVersion | None:
        """The version in service; None before the first promotion.

        Raises:
            TrackingError: The registry can't be asked.
        """
        if self._database is None:
            return self._registry.aliased(name, CHAMPION)
        if not self._database.is_file():
            raise TrackingError(f"{self._database} does not exist; `langmill run` makes it, or put it back.")
        aliased = self._registry.overview()
        return next((found for found in aliased if found.name == name and CHAMPION in found.aliases), None)

    def download(self, name: str, version: int, into: Path) -> Path:
        """Fill `into` with a version's model folder. Raises as `ModelRegistry.download` does."""
        return self._registry.download(name, version, into)
