"""Follows the registry's `champion` aliases: fetches, verifies, loads, warms up, and only then puts into service.

What can go wrong leaves the version in service where it is. A *version* that is damaged, does not load or does not
answer is refused and not tried again until the alias names another one; a *registry* that does not answer is asked
again at every look, and at the start the last good version is served from the local cache.

The cache is `<folder>/<name>/<version>/`, a model folder as its manifest describes it. `<folder>/<name>/champion.json`
names the last version that went into service. A version is known by its number, its provenance and the digests of
its files (`RegisteredVersion`): a registry that was set up anew counts from 1 again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Protocol, TypeVar

from langmill.errors import IntegrityError, LangmillError, RegistryError, SpaceError
from langmill.files import exclusive_lock, read_json, read_manifest, write_json
from langmill.serving.alias_state import AliasState, RegisteredVersion
from langmill.serving.engine import Engine
from langmill.serving.jobs import LoadedVersion
from langmill.serving.metrics import Metrics
from langmill.serving.warm_up import warm_up
from langmill.tasks.loading import LoadedModel

log = logging.getLogger(__name__)
ResultT = TypeVar("ResultT")
REGISTRY_TIMEOUT_SECONDS = 15.0
"""How long a look waits for the registry; the call continues and the next look waits for its result."""
_KEPT = 2
"""Versions kept in the cache: the one in service and the one before."""
_DOWNLOADS = 2
"""A copy damaged on the way is fetched once more before the version is blamed."""
_SHUTDOWN_TIMEOUT_SECONDS = 10.0


class Source(Protocol):
    """Where champions come from: `langmill.serving.source.ChampionSource`."""

    def champion(self, name: str) -> RegisteredVersion | None:
        """The version that the alias names; None if there is none."""

    def download(self, name: str, version: int, into: Path) -> Path:
        """Fill `into` with the version's model folder, verified."""


class Follower:
    """Keeps the engine's versions those that the registry names.

    Args:
        connect: Opens the registry; called in the follower's thread, again and again until it succeeds.
        load: Reads a model folder whose bytes have been verified.
        cache: The folder for downloaded versions.
        say: Called with a sentence on every change of what is in service.
    """

    def __init__(
        self,
        *,
        names: list[str],
        connect: Callable[[], Source],
        load: Callable[[Path], LoadedModel],
        engine: Engine,
        metrics: Metrics,
        cache: Path,
        poll_seconds: float,
        say: Callable[[str], None],
    ) -> None:
        self.alias_states = {name: AliasState() for name in names}
        self.looked = threading.Event()
        """Set once every model has been looked for a first time."""
        self._connect = connect
        self._load = load
        self._engine = engine
        self._metrics = metrics
        self._cache = cache
        self._poll_seconds = poll_seconds
        self._say = say
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
            for name in self.alias_states:
                self.look(name)
            self.looked.set()
            self._stop.wait(self._poll_seconds)

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
        elif wanted == state.loaded:
            self.alias_states[name] = AliasState(wanted, "registry")
        elif wanted == state.refused:
            state.trouble = None
        else:
            self._take(name, wanted)

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
        try:
            with self._locked(name):
                folder = self._fetch(name, wanted)
                loaded = self._load_version(name, wanted.version, folder)
        except _Unfit as error:
            state.refused, state.refused_reason, state.trouble = wanted, str(error), None
            self._metrics.swap_failures.labels(name).inc()
            goes_on = "nothing is" if state.loaded is None else f"version {state.loaded.version} stays"
            self._say(f"{name}: version {wanted.version} is not fit for service, {goes_on} in service: {error}")
            log.error("%s:%d is not fit for service", name, wanted.version, exc_info=error)
            return
        except Exception as error:  # the disk or the registry; the next look tries again
            self._note_trouble(name, f"Version {wanted.version} of {name} can't be fetched: {error}")
            return
        self._publish(loaded, wanted, "registry")
        with contextlib.suppress(OSError):
            write_json(self._cache / name / "champion.json", dataclasses.asdict(wanted))
            self._prune(name, wanted.version)

    def _fetch(self, name: str, wanted: RegisteredVersion) -> Path:
        """The version's folder in the cache, downloaded unless it is there and whole."""
        folder = self._cache / name / str(wanted.version)
        if folder.is_dir():
            with contextlib.suppress(LangmillError):
                if wanted.is_of(read_manifest(folder, verify=True)):
                    return folder
            shutil.rmtree(folder, ignore_errors=True)
        assert self._registry is not None
        for attempt in range(1, _DOWNLOADS + 1):
            try:
                self._registry.download(name, wanted.version, folder)
                if not wanted.is_of(read_manifest(folder, verify=False)):
                    raise IntegrityError("Its files are not those that were registered.")
                break
            except IntegrityError as error:
                shutil.rmtree(folder, ignore_errors=True)
                if attempt == _DOWNLOADS:
                    raise _Unfit(str(error)) from error
        return folder

    def _load_version(self, name: str, version: int, folder: Path) -> LoadedVersion:
        """Load a verified folder and let it answer once."""
        try:
            model = self._load(folder)
            tokens = range(model.tokenizer.vocab_size)
            loaded = LoadedVersion(name, version, model, max(len(model.tokenizer.decode([token])) for token in tokens))
            warm_up(loaded)
        except (MemoryError, SpaceError):
            raise
        except Exception as error:
            raise _Unfit(str(error) or type(error).__name__) from error
        return loaded

    def _start_from_cache(self, name: str) -> None:
        """Serve the last good version while the registry is away."""
        try:
            kept = RegisteredVersion(**read_json(self._cache / name / "champion.json"))
            folder = self._cache / name / str(kept.version)
            with self._locked(name):
                if not kept.is_of(read_manifest(folder, verify=True)):
                    raise IntegrityError(f"{folder} is not the version that it is kept for.")
                loaded = self._load_version(name, kept.version, folder)
        except Exception as error:
            log.info("%s can't be served from the cache: %s", name, error)
            return
        self._publish(loaded, kept, "cache")

    def _publish(self, loaded: LoadedVersion, registered: RegisteredVersion, source: str) -> None:
        name, before = loaded.name, self.alias_states[loaded.name]
        self._engine.publish(loaded)
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

    def _locked(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Two servers in one workspace share the cache."""
        return exclusive_lock(self._cache / f"{name}.lock", "A server", wait=True)

    def _prune(self, name: str, version: int) -> None:
        """Delete all but the newest versions from the cache, never the one in service."""
        with self._locked(name):
            folders = (path for path in (self._cache / name).iterdir() if path.is_dir() and path.name.isdigit())
            others = [path for path in folders if path.name != str(version)]
            for path in sorted(others, key=lambda path: path.stat().st_mtime)[: -(_KEPT - 1)]:
                shutil.rmtree(path, ignore_errors=True)


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


class _Unfit(Exception):
    """The version itself is to blame."""
