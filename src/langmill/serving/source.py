"""Asks the registry for champions, without changing anything in it but where a version fails on live traffic."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from langmill.errors import TrackingError
from langmill.models.folder import GENERATION_NAME, WEIGHTS_NAME
from langmill.registry.artifacts import MODEL_PATH
from langmill.registry.store import ModelRegistry
from langmill.registry.trials import stop_trial
from langmill.registry.versions import CHALLENGER, CHAMPION, PREVIOUS, ModelVersion, State, Tag
from langmill.serving.alias_state import RegisteredVersion
from langmill.tracking.addresses import database_path

_TOLD = {
    "better": Tag.better, "trivial_baseline": Tag.trivial, "strong_baseline": Tag.strong, "base": Tag.base,
    "judged": Tag.judged,
}  # fmt: skip
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

        Raises TrackingError where the registry can't be asked.
        """
        found = self._aliased(name, CHAMPION)
        return None if found is None else _described(found)

    def beside(self, name: str) -> tuple[RegisteredVersion, bool] | None:
        """The version that the champion may be tried against, and whether it is the previous one.

        A challenger is tried once it is validated. One that was rolled back, or failed on live traffic before, is not.
        Raises TrackingError where the registry can't be asked.
        """
        for alias in (CHALLENGER, PREVIOUS):
            found = self._aliased(name, alias)
            if found is None or CHAMPION in found.aliases or Tag.rolled_back in found.tags:
                continue
            if found.state == State.validated or alias == PREVIOUS:
                return _described(found), alias == PREVIOUS
        return None

    def aliased(self, name: str) -> dict[str, RegisteredVersion]:
        """The versions that a model's other aliases name, by alias.

        Raises:
            TrackingError: The registry can't be asked.
        """
        found = {alias: self._aliased(name, alias) for alias in (PREVIOUS, CHALLENGER)}
        return {alias: _described(version) for alias, version in found.items() if version is not None}

    def download(self, name: str, version: int, into: Path) -> Path:
        """Fill `into` with a version's model folder. Raises as `ModelRegistry.download` does."""
        return self._registry.download(name, version, into)

    def place(self, name: str, version: int) -> str:
        """Where the registry keeps a version's model folder."""
        return f"{self._registry.location(name, version)}/{MODEL_PATH}"

    def stamp(self, name: str, version: int) -> str | None:
        """Sizes and times of a version's files; None where they are not on this machine."""
        place = self.place(name, version)
        if not place.startswith("file:"):
            return None
        folder = Path(unquote(urlsplit(place).path))
        found = [(path.name, path.stat()) for path in sorted(folder.glob("*"))]
        return " ".join(f"{name}:{state.st_size}:{state.st_mtime_ns}" for name, state in found)

    def moved(self) -> object:
        """Size and time of the ledger, into which every move of a champion from this workspace is written."""
        try:
            found = self._registry.ledger.path.stat()
        except OSError:
            return None
        return found.st_size, found.st_mtime_ns

    def stop_trial(self, name: str, version: int, reason: str, facts: Mapping[str, Any]) -> str:
        """Take a version that failed on live traffic out of the way; return what became of it.

        Raises RegistryError where it can't be.
        """
        command = "langmill serve"
        return stop_trial(self._registry, name, version, reason=reason, facts=facts, command=command).sentence

    def _aliased(self, name: str, alias: str) -> ModelVersion | None:
        if self._database is None:
            return self._registry.aliased(name, alias)
        if self._database.is_file():
            return next(
                (each for each in self._registry.overview() if each.name == name and alias in each.aliases), None
            )
        raise TrackingError(
            f"{self._database} does not exist; `langmill run` makes it, or put it back.", code="missing"
        )


def _described(found: ModelVersion) -> RegisteredVersion:
    digests = {file: found.tags[tag] for file, tag in _DIGESTS.items() if found.tags.get(tag)}
    return RegisteredVersion(found.version, found.provenance, digests, _metrics(found), found.description)


def _metrics(found: ModelVersion) -> dict[str, Any]:
    """How a version was judged: the metric that decides with its interval, and what baselines reach (`unigram 2.7`)."""
    metrics: dict[str, Any] = {}
    if found.decides is not None:
        metric, estimate = found.decides
        metrics = {"metric": metric, "value": estimate.value, "low": estimate.low, "high": estimate.high}
    return metrics | {name: found.tags[tag] for name, tag in _TOLD.items() if found.tags.get(tag)}
