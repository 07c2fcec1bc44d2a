"""Follows the registry's `champion` aliases: fetches, verifies, loads, warms up, and only then puts into service.

What can go wrong leaves the version in service where it is. A *version* that is damaged, does not load or does not
answer is refused and not tried again until the alias names another one, its files in the registry change, or a person
asks for it (`langmill serve --retry`); a *registry* that does not answer is asked again at every look, and at the start
the last good version is served from the local cache.

A version is known by its number, its provenance and the digests of its files (`RegisteredVersion`): a registry that was
set up anew counts from 1 again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Protocol, TypeVar

from langmill.errors import RegistryError
from langmill.serving.alias_state import AliasState, RegisteredVersion
from langmill.serving.beside import Beside
from langmill.serving.engine import Engine
from langmill.serving.jobs import LoadedVersion
from langmill.serving.metrics import Metrics
from langmill.serving.trial.trials import RunningTrial, Trials
from langmill.serving.version_cache import UnfitError, VersionCache

log = logging.getLogger(__name__)
ResultT = TypeVar("ResultT")
REGISTRY_TIMEOUT_SECONDS = 15.0
"""How long a look waits for the registry; the call continues and the next look waits for its result."""
_SHUTDOWN_TIMEOUT_SECONDS = 10.0
_WATCH_SECONDS = 0.1


class Source(Protocol):
    """Where champions come from: `langmill.serving.source.ChampionSource`."""

    def champion(self, name: str) -> RegisteredVersion | None:
        """The version that the alias names; None if there is none."""

    def download(self, name: str, version: int, into: Path) -> Path:
        """Fill `into` with the version's model folder, verified."""

    def place(self, name: str, version: int) -> str:
        """Where the registry keeps a version's files, as a person finds them."""

    def stamp(self, name: str, version: int) -> str | None:
        """What changes when those files do; None where that can't be seen from here."""

    def moved(self) -> object:
        """What changes when a champion is moved from this machine: looking then need not wait."""

    def beside(self, name: str) -> tuple[RegisteredVersion, bool] | None:
        """The version that the champion may be tried against, and whether it is the previous one or the challenger."""

    def aliased(self, name: str) -> Mapping[str, RegisteredVersion]:
        """The versions that the other aliases name, by alias."""


class Follower:
    """Keeps the engine's versions those that the registry names.

    Args:
        connect: Opens the registry; called in the follower's thread, again and again until it succeeds.
        cache: Fetches and loads versions.
        trials: What is tried on live traffic; None for a server that tries nothing.
        beside: What may be asked beside the versions in service; None for a server that offers nothing else.
        say: Called with a sentence on every change of what is in service.
    """

    def __init__(
        self,
        *,
        names: list[str],
        connect: Callable[[], Source],
        engine: Engine,
        metrics: Metrics,
        cache: VersionCache,
        poll_seconds: float,
        say: Callable[[str], None],
        trials: Trials | None = None,
        beside: Beside | None = None,
    ) -> None:
        self.alias_states = {name: AliasState() for name in names}
        self.looked = threading.Event()
        """Set once every model has been looked for a first time."""
        self._connect = connect
        self._engine = engine
        self._metrics = metrics
        self._cache = cache
        self._poll_seconds = poll_seconds
        self._say = say
        self._trials = trials
        self._beside = beside
        self._retried = cache.retry_asked()
        self._stamps: dict[str, str | None] = {}
        """Of each refused version's files, as they were when it was refused."""
        self._before: dict[str, RegisteredVersion] = {}
        """What the version in service took the place of, while this server ran."""
        self._unfit_beside: dict[str, RegisteredVersion] = {}
        self._registry: Source | None = None
        self._calls: dict[str, Future[RegisteredVersion | None]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)
        for name in names:  # counters exist from the first scrape on
            metrics.swaps.labels(name)
            metrics.swap_failures.labels(name)
            metrics.registry_failures.labels(name)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more. A load that is under way gets a moment to end, since a thread in C++ code survives no exit."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=_SHUTDOWN_TIMEOUT_SECONDS)

    def failure(self) -> str | None:
        """Why nothing is followed any more; None when all is well."""
        if self._thread.ident is not None and not self._thread.is_alive():
            return "The thread that follows the registry has ended; restart the server and read its log."
        return None

    def _run(self) -> None:
        while not self._stop.is_set():
            seen = self._moved()
            for name in self.alias_states:
                self.look(name)
            self.looked.set()
            self._retried = self._cache.retry_asked()
            for name in self.alias_states if self._trials is not None else ():
                self.look_beside(name)
            for name in self.alias_states if self._beside is not None else ():
                self.look_at_aliases(name)
            self._wait(seen)

    def _wait(self, seen: object) -> None:
        """Until the next look: some time, or a move of a champion that is seen from here."""
        deadline = time.monotonic() + self._poll_seconds
        while not self._stop.wait(min(_WATCH_SECONDS, max(0.0, deadline - time.monotonic()))):
            if time.monotonic() >= deadline or self._moved() != seen:
                return

    def _moved(self) -> object:
        return None if self._registry is None else self._registry.moved()

    def look(self, name: str) -> None:
        """Ask once which version is champion and bring it into service if it is another one. Never raises."""
        state = self.alias_states[name]
        try:
            wanted = self._ask(name)
        except Exception as error:
            self._metrics.registry_failures.labels(name).inc()
            self._note_trouble(name, f"The registry can't be asked: {error}")
            if state.loaded is None:
                self._start_from_cache(name)
            return
        if wanted is None:
            serving = "" if state.loaded is None else f"; version {state.loaded.version} goes on"
            self._note_trouble(name, f"The registry names no champion of {name}{serving}.")
        elif wanted == state.loaded and self._answers(name):
            self.alias_states[name] = AliasState(wanted, "registry")
        elif wanted == state.refused and not self._mended(name, wanted.version):
            state.trouble = None
        else:
            self._take(name, wanted)

    def look_beside(self, name: str) -> None:
        """Ask once which version is to be tried beside the one in service, and begin that. Never raises."""
        trials, state, serving = self._trials, self.alias_states[name], self._engine.loaded(name)
        if trials is None or self._registry is None or serving is None or state.loaded is None or state.trouble:
            return
        try:
            trials.tell()
            found = self._registry.beside(name)
            if found is None:
                trials.end(name)
                return
            registered, is_previous = found
            if registered == state.loaded:  # a move is under way: the next look sees the champion that it made
                return
            if is_previous and not self._swapped_from(name, registered):
                trials.end(name)
                return
            candidate, baseline = (registered, state.loaded) if not is_previous else (state.loaded, registered)
            if registered == self._unfit_beside.get(name) or not trials.wants(
                name, candidate.version, baseline.version, registered
            ):
                return
            loaded = self._cache.fetched(self._registry, name, registered)
        except UnfitError as error:
            self._unfit_beside[name] = registered
            self._say(f"{name}: version {registered.version} can't be tried: {self._unfit(name, registered, error)}")
        except Exception as error:
            log.warning("No version of %s can be tried now: %s", name, error)
        else:
            pair = (serving, loaded) if is_previous else (loaded, serving)
            trials.begin(RunningTrial(*pair, registered, promoted=is_previous))

    def look_at_aliases(self, name: str) -> None:
        """Note now and then which versions may be asked beside the one in service. Never raises."""
        beside, state = self._beside, self.alias_states[name]
        if beside is None or self._registry is None or state.trouble:
            return
        beside.sweep()
        if not beside.wants_look(name, state.loaded):
            return
        try:
            beside.note(name, self._registry, state.loaded, self._registry.aliased(name))
        except Exception as error:
            log.warning("The other versions of %s are not known: %s", name, error)

    def _answers(self, name: str) -> bool:
        """Whether what is in service still can: a process beside this one may have died."""
        serving = self._engine.loaded(name)
        return serving is not None and serving.alive

    def _swapped_from(self, name: str, previous: RegisteredVersion) -> bool:
        """Whether this server saw the champion take the place of `previous`: an old promotion is tried no more."""
        return self._before.get(name) == previous

    def _mended(self, name: str, version: int) -> bool:
        """Whether a refused version is worth another try: its files have changed, or a person asks for it."""
        if self._cache.retry_asked() > self._retried:
            return True
        try:
            stamp = self._registry.stamp(name, version) if self._registry is not None else None
        except Exception:  # what is wrong with the registry shows elsewhere
            return False
        return stamp is not None and stamp != self._stamps.get(name)

    def _unfit(self, name: str, version: RegisteredVersion, error: UnfitError) -> str:
        """The reason of a refusal: what, where, and what mends it."""
        place, stamp = "", None
        try:
            if self._registry is not None:
                place = self._registry.place(name, version.version)
                stamp = self._registry.stamp(name, version.version)
        except Exception as failure:
            log.info("Where version %d of %s lies is not known: %s", version.version, name, failure)
        self._stamps[name] = stamp
        reason = str(error).rstrip(".") + "."
        where = f" Its files are in {place}." if place and place not in reason else ""
        again = "it is tried again" if stamp is not None else "`langmill serve --retry` tries it again"
        return f"{reason}{where} Once they are mended {again}; `langmill rollback {name}` goes back to the one before."

    def _ask(self, name: str) -> RegisteredVersion | None:
        def call() -> RegisteredVersion | None:
            if self._registry is None:
                self._registry = self._connect()
            return self._registry.champion(name)

        pending = self._calls.pop(name, None) or _begin(call)
        try:
            return pending.result(REGISTRY_TIMEOUT_SECONDS)
        except TimeoutError as error:
            if pending.done():  # the registry's own
                raise
            self._calls[name] = pending
            raise RegistryError(
                f"it has not answered for {REGISTRY_TIMEOUT_SECONDS:.0f} s.", code="unreachable"
            ) from error

    def _take(self, name: str, wanted: RegisteredVersion) -> None:
        """Fetch, load, warm up and publish a version, or say why not."""
        state = self.alias_states[name]
        state.coming = wanted.version
        try:
            loaded = self._trials.loaded(name, wanted) if self._trials is not None else None
            if loaded is None:
                assert self._registry is not None
                loaded = self._cache.fetched(self._registry, name, wanted)
        except UnfitError as error:
            reason = self._unfit(name, wanted, error)
            state.refused, state.refused_reason, state.trouble = wanted, reason, None
            self._metrics.swap_failures.labels(name).inc()
            goes_on = "nothing is" if state.loaded is None else f"version {state.loaded.version} stays"
            self._say(f"{name}: version {wanted.version} is not fit for service, {goes_on} in service: {reason}")
            log.error("%s:%d is not fit for service", name, wanted.version, exc_info=error)
            return
        except Exception as error:  # the disk or the registry; the next look tries again
            self._note_trouble(name, f"Version {wanted.version} of {name} can't be fetched: {error}")
            return
        finally:
            state.coming = None
        before = state.loaded
        self._publish(loaded, wanted, "registry")
        self._cache.note(name, wanted, before.version if before is not None else None)

    def _start_from_cache(self, name: str) -> None:
        """Serve the last good version while the registry is away."""
        try:
            loaded, kept = self._cache.last(name)
        except Exception as error:
            log.info("%s can't be served from the cache: %s", name, error)
            return
        self._publish(loaded, kept, "cache")

    def _publish(self, loaded: LoadedVersion, registered: RegisteredVersion, source: str) -> None:
        name, before = loaded.name, self.alias_states[loaded.name]
        serving = self._engine.loaded(name)
        self._engine.publish(loaded)
        if before.loaded is not None and before.loaded != registered:
            self._before[name] = before.loaded
        if self._trials is not None:
            self._trials.swapped(name, loaded, serving, before.loaded)
        self.alias_states[name] = AliasState(registered, source, trouble=before.trouble if source == "cache" else None)
        self._metrics.swaps.labels(name).inc()
        was = "" if before.loaded is None else f", in place of {before.loaded.version}"
        whence = " (from the local cache, since the registry does not answer)" if source == "cache" else ""
        self._say(f"{name}: version {loaded.version} is in service{was}{whence}.")

    def _note_trouble(self, name: str, trouble: str) -> None:
        state = self.alias_states[name]
        if state.trouble != trouble:
            log.warning("%s", trouble)
        state.trouble = trouble


def _begin(work: Callable[[], ResultT]) -> Future[ResultT]:
    """Do what may take long in a thread that nobody waits for at the end, as an executor would."""
    future: Future[ResultT] = Future()

    def call() -> None:
        try:
            future.set_result(work())
        except Exception as error:
            future.set_exception(error)

    threading.Thread(target=call, name="registry-call", daemon=True).start()
    return future
