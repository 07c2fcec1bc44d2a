"""From a listening socket to a clean end: threads up, requests answered, drained on a signal."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import torch
import uvicorn

from langmill.config.sections import Backend, Serving, TrialMode
from langmill.serving.app import build_app
from langmill.serving.beside import Beside
from langmill.serving.connections import RESERVED_FILES, Server, connection_limit
from langmill.serving.engine import Engine
from langmill.serving.follower import Follower
from langmill.serving.jobs import LoadedVersion
from langmill.serving.keys import KeyRing
from langmill.serving.metrics import Metrics
from langmill.serving.middleware import MAX_HEADER_BYTES
from langmill.serving.routes.base import routes_for
from langmill.serving.service import Service
from langmill.serving.source import ChampionSource
from langmill.serving.trial.trials import Trials
from langmill.serving.version_cache import VersionCache, own_loader
from langmill.serving.vllm import VllmLoader
from langmill.tasks.loading import load_model
from langmill.workspace import Workspace

log = logging.getLogger(__name__)
_CLOSING_SECONDS = 5
"""Seconds for the last bytes of answers to leave once the models are done."""
_STEP_SECONDS = 0.05


class Lifecycle:
    """One server from start to end.

    Args:
        settings: The server's settings.
        tracking_uri: Where the registry is.
        workspace: Where downloaded versions and the log are.
        keys: The keys that are wanted; none for an open server.
        address: The URL that people use.
        device: Where the models compute, in torch's word.
        say: Prints a line for the person at the terminal.
    """

    def __init__(
        self,
        settings: Serving,
        *,
        tracking_uri: str,
        workspace: Workspace,
        keys: KeyRing,
        address: str,
        device: str,
        say: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._address = address
        self._say = say
        self._log = workspace.log("serve")
        self._wants_key = bool(keys)
        metrics = Metrics()
        self._engine = Engine.of(settings, metrics)
        self._vllm = VllmLoader(settings.vllm, workspace.log)
        own = own_loader(lambda folder: load_model(folder, verify=False, device=device))  # the cache has verified it

        def load(name: str, version: int, folder: Path) -> LoadedVersion:
            elsewhere = settings.backends.get(name) is Backend.vllm
            return (self._vllm if elsewhere else own)(name, version, folder)

        trials = None
        if settings.trial.mode is not TrialMode.off:
            stop = ChampionSource(tracking_uri).stop_trial
            trials = Trials(settings.trial, workspace.serving, stop, metrics.registry, self._report)
        cache = VersionCache(workspace.serving, load)
        elsewhere = {name for name, backend in settings.backends.items() if backend is Backend.vllm}
        beside = Beside(cache, settings.max_beside, elsewhere, *([trials.loaded] if trials is not None else []))
        self._follower = Follower(
            names=settings.recipes,
            connect=lambda: ChampionSource(tracking_uri),
            engine=self._engine,
            metrics=metrics,
            cache=cache,
            poll_seconds=settings.poll_seconds,
            say=self._report,
            trials=trials,
            beside=beside,
        )
        service = Service(settings, self._engine, self._follower, metrics, int(time.time()), trials, beside)
        config = uvicorn.Config(
            build_app(service, keys),
            http="h11",
            loop="asyncio",
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            h11_max_incomplete_event_size=MAX_HEADER_BYTES,
            timeout_graceful_shutdown=_CLOSING_SECONDS,
        )
        self._server = Server(config, settings, metrics)
        self._signals = 0

    def run(self, listener: socket.socket) -> int:
        """Serve on a listening socket until a signal comes; return how many requests were broken off."""
        most = connection_limit(self._settings.max_connections)
        if most < self._settings.max_connections:
            self._report(
                f"Up to {most} connections at once: the limit of open files (`ulimit -n`) leaves no room for the "
                f"{self._settings.max_connections} of serving.max_connections and {RESERVED_FILES} files besides."
            )
        torch.set_num_threads(self._settings.threads)
        torch.set_flush_denormal(True)  # threads started from here on inherit it
        self._engine.start()
        self._follower.start()
        try:
            return asyncio.run(self._serve(listener))
        finally:
            self._follower.stop()
            self._engine.stop()
            self._vllm.stop()

    async def _serve(self, listener: socket.socket) -> int:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, self._on_signal, stop)
        serving = asyncio.create_task(self._server.serve([listener]))
        greeting = asyncio.create_task(self._greet())
        await asyncio.wait({serving, asyncio.create_task(stop.wait())}, return_when=asyncio.FIRST_COMPLETED)
        greeting.cancel()
        cut_off = await self._drain()
        self._server.should_exit = True
        await serving
        return cut_off

    def _on_signal(self, stop: asyncio.Event) -> None:
        """The first signal drains; a second one, from an impatient person, breaks off what is left."""
        self._signals += 1
        stop.set()
        if self._signals == 1:
            left = self._load
            waiting = f"; {left} answers get up to {self._settings.drain_seconds:g} s to finish" if left else ""
            self._say(f"Stopping{waiting}.")

    @property
    def _load(self) -> int:
        """Requests that are being worked on or wait, wherever the model runs."""
        return self._engine.load + self._vllm.load

    async def _drain(self) -> int:
        """Let accepted requests finish while /ready says 503; return how many did not in time."""
        self._engine.drain()
        deadline = time.monotonic() + self._settings.drain_seconds
        while self._load and time.monotonic() < deadline and self._signals < 2:
            await asyncio.sleep(_STEP_SECONDS)
        left = self._load
        if left:
            log.warning("%d requests were not done in time and are broken off", left)
        await asyncio.to_thread(self._engine.stop)
        return left

    # What the person at the terminal reads ---------------------------------------------------------------------------

    def _report(self, sentence: str) -> None:
        log.info("%s", sentence)
        self._say(f"  {sentence}")

    async def _greet(self) -> None:
        """Once every model has been looked for: what is missing, and commands that work as pasted."""
        while not self._follower.looked.is_set():
            await asyncio.sleep(_STEP_SECONDS)
        lines = []
        for name, state in self._follower.alias_states.items():
            if state.loaded is None and state.refused is None:
                why = state.trouble or "there is no champion"
                lines.append(f"  {name}: nothing to serve yet ({why.rstrip('.')}); `langmill run {name}` makes one.")
        lines.append(f"Open {self._address} in a browser, or paste:")
        key = " -H 'Authorization: Bearer KEY'" if self._wants_key else ""
        for name in self._settings.recipes:
            if (loaded := self._engine.loaded(name)) is None:
                continue
            task = loaded.model.task
            for route in routes_for(task)[:1]:  # the others are in /v1/models
                body = json.dumps({"model": name, **route.example_for(task)})
                lines.append(
                    f"  curl -s {self._address}{route.path} -H 'Content-Type: application/json'{key} -d '{body}'"
                )
        lines.append(f"Ctrl-C stops the server. Its log: {self._log}")
        self._say("\n".join(lines))
