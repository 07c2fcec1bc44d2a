"""Versions beside those in service, which are asked by name: `NAME@previous`, `NAME@challenger`.

Such a version is fetched, verified and made to answer once when somebody first asks for it, as a champion is. It stays
in memory until it has not been asked for a while, its alias names another one, or others want its place.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from langmill.errors import RequestError
from langmill.serving.alias_state import RegisteredVersion
from langmill.serving.jobs import LoadedVersion
from langmill.serving.service import SEPARATOR
from langmill.serving.version_cache import Shelf, UnfitError, VersionCache

log = logging.getLogger(__name__)
_IDLE_SECONDS = 600.0
_LOOK_SECONDS = 10.0
Key = tuple[str, str]
"""A model and an alias."""


@dataclass
class _Held:
    registered: RegisteredVersion
    loaded: LoadedVersion
    asked: float


class Beside:
    """What may be asked beside the versions in service, and what of it is in memory.

    Args:
        cache: Fetches and loads versions.
        most: Versions in memory at once; 0 offers none.
        elsewhere: Models that are run by another process: a second one would not fit beside it.
        on_trial: A version that is in memory already, since it is on trial.
    """

    def __init__(
        self,
        cache: VersionCache,
        most: int,
        elsewhere: Collection[str] = (),
        on_trial: Callable[[str, RegisteredVersion], LoadedVersion | None] = lambda *_: None,
    ) -> None:
        self._cache = cache
        self._most = most
        self._elsewhere = frozenset(elsewhere)
        self._on_trial = on_trial
        self._shelf: Shelf | None = None
        self._known: dict[str, Mapping[str, RegisteredVersion]] = {}
        self._looked: dict[str, tuple[RegisteredVersion | None, float]] = {}
        self._held: dict[Key, _Held] = {}
        self._unfit: dict[Key, tuple[RegisteredVersion, str]] = {}

    # In the follower's thread ----------------------------------------------------------------------------------------

    def wants_look(self, name: str, champion: RegisteredVersion | None) -> bool:
        """Whether the registry is to be asked again what else there is of a model: now and then, and after a move."""
        if not self._most or name in self._elsewhere:
            return False
        before, looked = self._looked.get(name, (None, -_LOOK_SECONDS))
        return before != champion or time.monotonic() - looked >= _LOOK_SECONDS

    def note(
        self, name: str, shelf: Shelf, champion: RegisteredVersion | None, aliased: Mapping[str, RegisteredVersion]
    ) -> None:
        """Take note of the versions that a model's other aliases name, and let go of what they name no more."""
        self._shelf = shelf
        self._looked[name] = champion, time.monotonic()
        self._known[name] = {alias: found for alias, found in aliased.items() if found != champion}
        for key, held in list(self._held.items()):
            if self._known.get(key[0], {}).get(key[1]) != held.registered:
                self._held.pop(key, None)

    def sweep(self) -> None:
        """Let go of what has not been asked for a while."""
        for key, held in list(self._held.items()):
            if time.monotonic() - held.asked > _IDLE_SECONDS:
                self._held.pop(key, None)

    # For the routes --------------------------------------------------------------------------------------------------

    def known(self, name: str) -> dict[str, int]:
        """What may be asked of a model beside the version in service: the version's number, by the name to ask for."""
        found = self._known.get(name, {})
        return {f"{name}{SEPARATOR}{alias}": registered.version for alias, registered in found.items()}

    def in_memory(self, name: str, alias: str) -> LoadedVersion | None:
        """A version that was loaded already; None where it was not.

        Raises:
            RequestError: There is none of this alias.
        """
        held = self._held.get((name, alias))
        if held is None or held.registered != self._registered(name, alias):
            return None
        held.asked = time.monotonic()
        return held.loaded

    def loaded(self, name: str, alias: str) -> LoadedVersion:
        """A version that answers, loaded unless it is in memory: call it in a thread, one at a time.

        Raises:
            RequestError: There is none (404), or it can't answer (503).
        """
        registered = self._registered(name, alias)
        found = self.in_memory(name, alias)
        if found is None:
            found = self._load(name, alias, registered, f"{name}{SEPARATOR}{alias}")
            self._hold((name, alias), _Held(registered, found, time.monotonic()))
        return found

    def _registered(self, name: str, alias: str) -> RegisteredVersion:
        if not self._most or name in self._elsewhere:
            why = "vLLM runs it" if self._most else "serving.max_beside is 0"
            raise RequestError(
                f"Only the version of {name} in service answers here ({why}); ask for {name}.", 404, "model",
                "model_not_found",
            )  # fmt: skip
        found = self._known.get(name, {}).get(alias)
        if found is None:
            others = ", ".join(self.known(name)) or "none"
            raise RequestError(
                f"{name} has no other version {alias[:40]!r}; beside the one in service there are: {others}.", 404,
                "model", "model_not_found",
            )  # fmt: skip
        return found

    def _load(self, name: str, alias: str, registered: RegisteredVersion, asked: str) -> LoadedVersion:
        before = self._unfit.get((name, alias))
        if before is not None and before[0] == registered:
            raise _unfit(asked, before[1])
        assert self._shelf is not None
        try:
            return self._on_trial(name, registered) or self._cache.fetched(self._shelf, name, registered)
        except UnfitError as error:
            self._unfit[name, alias] = registered, str(error)
            raise _unfit(asked, str(error)) from error
        except Exception as error:  # the disk or the registry; the next request tries again
            log.warning("%s can't be fetched", asked, exc_info=error)
            raise RequestError(f"{asked} can't be fetched now: {error}", 503, "model", "model_not_ready") from error

    def _hold(self, key: Key, held: _Held) -> None:
        self._held.pop(key, None)
        oldest_first = sorted(list(self._held.items()), key=lambda each: each[1].asked)  # the follower lets go as well
        for other, _ in oldest_first[: max(0, len(oldest_first) - self._most + 1)]:
            self._held.pop(other, None)
        self._held[key] = held


def _unfit(asked: str, reason: str) -> RequestError:
    return RequestError(f"{asked} is not fit to answer: {reason}", 503, "model", "model_not_ready")
