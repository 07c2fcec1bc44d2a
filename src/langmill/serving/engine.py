"""The thread that runs the models, and the way to it from the event loop.

One thread owns all forward passes. It takes jobs from a bounded queue and advances up to `max_running` of them
round-robin, one token (or one group of texts) each, so that a short one does not wait behind a long one.
Decoding several jobs in one forward pass would change nothing outside this module.

A job holds the `LoadedVersion` it was made for. A swap puts another one in its place for requests to come; the old one
is freed when its last job lets go of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Generator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch

from langmill.errors import RequestError
from langmill.serving.metrics import Metrics
from langmill.tasks.loading import LoadedModel

log = logging.getLogger(__name__)
EventT = TypeVar("EventT")
_HOPELESS_SECONDS = 60.0
"""Requests are refused once a step has taken this long; until then they wait, since it may come back."""


@dataclass(frozen=True)
class LoadedVersion:
    """A version in service."""

    name: str
    version: int
    model: LoadedModel
    longest_token: int
    """Characters that one token stands for at most."""

    @property
    def fingerprint(self) -> str:
        """`name:version`, the form in which responses and logs name it."""
        return f"{self.name}:{self.version}"

    @property
    def identity(self) -> dict[str, Any]:
        """The entries of a response that say who gave it."""
        return {"model": self.name, "version": self.version, "system_fingerprint": self.fingerprint}

    @property
    def alive(self) -> bool:
        """Whether it can answer at all; one that is in no process of its own always can."""
        return True

    def refuse_long_text(self, text: str, limit: int, field: str) -> None:
        """Refuse a text that has more than `limit` tokens whatever they are, without encoding it.

        Raises:
            RequestError: It has; `field` of the request holds it.
        """
        if len(text) > limit * self.longest_token:
            raise RequestError(
                f"{field} has {len(text)} characters, which are more than {limit} tokens; shorten it.",
                400, field, "context_length_exceeded",
            )  # fmt: skip


class Job(ABC, Generic[EventT]):
    """Work of the engine for one request."""

    def __init__(self, loaded: LoadedVersion) -> None:
        self.loaded = loaded

    @abstractmethod
    def steps(self) -> Generator[EventT | None, None, None]:
        """Do the work in short steps, in the engine's thread; None is a step without an event."""


class ResponseStream(Generic[EventT]):
    """The events of one submitted job, to be read in the event loop that submitted it.

    Leaving early needs `cancel`, after which the engine drops the job at its next step.
    """

    def __init__(self, job: Job[EventT]) -> None:
        self.job: Job[EventT] | None = job
        self.submitted = time.monotonic()
        self.cancelled = False
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[EventT | BaseException | None] = asyncio.Queue()
        self._arrived: deque[EventT | BaseException | None] = deque()
        self._woken = False

    def __aiter__(self) -> AsyncIterator[EventT]:
        return self

    async def __anext__(self) -> EventT:
        event = await self._events.get()
        if event is None:
            raise StopAsyncIteration
        if isinstance(event, BaseException):
            raise event
        return event

    def cancel(self) -> None:
        """The client has gone: stop working on this."""
        self.cancelled = True

    def put(self, event: EventT | BaseException | None) -> None:
        """Hand over an event from the engine's thread; None ends the stream, an exception breaks it."""
        self._arrived.append(event)
        if not self._woken:  # events that come faster than the loop turns share one call
            self._woken = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
                self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._woken = False  # before the look: what arrives after it wakes the loop again
        while self._arrived:
            self._events.put_nowait(self._arrived.popleft())


@dataclass
class _Running:
    stream: ResponseStream[Any]
    steps: Generator[Any, None, None]


class Engine:
    """Runs jobs round-robin in a thread of its own.

    Args:
        max_running: Jobs that are advanced in turn.
        max_waiting: Jobs that wait for that.
        metrics: Where they are counted.
        stalled_seconds: A step that takes longer counts as a failure.
    """

    def __init__(self, max_running: int, max_waiting: int, metrics: Metrics, stalled_seconds: float) -> None:
        self._max_running = max_running
        self._max_waiting = max_waiting
        self._metrics = metrics
        self._stalled_seconds = stalled_seconds
        self._loaded: dict[str, LoadedVersion] = {}
        self._waiting: deque[ResponseStream[Any]] = deque()
        self._running: list[_Running] = []
        self._changed = threading.Condition()
        self._stopping = False
        self._draining = False
        self._step_began: float | None = None
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)

    # Loaded versions ------------------------------------------------------------------------------------------------

    def publish(self, loaded: LoadedVersion) -> None:
        """Give all requests to come to this version."""
        self._loaded[loaded.name] = loaded
        self._metrics.version.labels(loaded.name).set(loaded.version)

    def loaded(self, name: str) -> LoadedVersion | None:
        """The version in service, if there is one."""
        return self._loaded.get(name)

    # Life ------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()
        self._metrics.engine_up.set_function(lambda: self._thread.is_alive() and self.failure() is None)

    def drain(self) -> None:
        """Accept nothing more; what was accepted is still done."""
        with self._changed:
            self._draining = True

    def stop(self) -> None:
        """Break off what is running and end the thread."""
        with self._changed:
            self._draining = self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout=_HOPELESS_SECONDS)

    @property
    def draining(self) -> bool:
        """Whether the server is on its way out."""
        return self._draining

    @property
    def load(self) -> int:
        """Requests that are being worked on or wait."""
        return len(self._running) + len(self._waiting)

    def failure(self) -> str | None:
        """Why the engine can't answer, in a sentence; None when all is well, or when it was stopped."""
        return self._failure(self._stalled_seconds)

    def _failure(self, seconds: float) -> str | None:
        if self._stopping:
            return None
        if not self._thread.is_alive():
            return "The thread that runs the models has ended; restart the server and read its log."
        began = self._step_began
        if began is not None and time.monotonic() - began > seconds:
            return f"The model has not come back for {time.monotonic() - began:.0f} s; restart the server."
        return None

    # Requests --------------------------------------------------------------------------------------------------------

    def submit(self, job: Job[EventT]) -> ResponseStream[EventT]:
        """Queue a job; call it in an event loop.

        Raises:
            RequestError: Too many are waiting, the server is stopping, or the engine is dead (all 503).
        """
        if failure := self._failure(_HOPELESS_SECONDS):
            raise RequestError(failure, 503, code="engine_dead")
        stream = ResponseStream(job)
        with self._changed:
            if self._draining:
                raise RequestError("The server is stopping; ask another one.", 503, code="stopping")
            self._waiting = deque(waiting for waiting in self._waiting if not waiting.cancelled)
            free = self._max_running - len(self._running)
            if len(self._waiting) >= self._max_waiting + max(0, free):
                self._metrics.refused.inc()
                raise RequestError(
                    f"{len(self._waiting)} requests are already waiting; try again in a moment.", 503, code="overloaded"
                )
            self._waiting.append(stream)
            self._count()
            self._changed.notify_all()
        return stream

    # The thread ------------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        reason: BaseException = RequestError("The server stopped before the answer was complete.", 503, code="stopping")
        try:
            with torch.inference_mode():
                while self._admit():
                    for running in list(self._running):
                        self._step_began = time.monotonic()
                        self._advance(running)
                        self._step_began = None
        except BaseException as error:
            log.exception("The engine's thread has died")
            reason = RequestError(f"The engine died ({type(error).__name__}); read the server's log.", 500)
        finally:
            with self._changed:
                self._draining = True
                for stream in [*(running.stream for running in self._running), *self._waiting]:
                    stream.put(reason)
                self._running.clear()
                self._waiting.clear()
                self._count()

    def _admit(self) -> bool:
        """Take waiting requests in; wait while there is nothing to do. False when it is time to end."""
        with self._changed:
            while not (self._waiting or self._running or self._stopping):
                self._changed.wait()
            if self._stopping:
                return False
            while self._waiting and len(self._running) < self._max_running:
                stream = self._waiting.popleft()
                if stream.cancelled or stream.job is None:
                    self._metrics.cancelled.inc()
                    continue
                self._running.append(_Running(stream, stream.job.steps()))
                stream.job = None  # the steps hold the loaded version; nothing else needs it
            self._count()
            return True

    def _advance(self, running: _Running) -> None:
        stream = running.stream
        if stream.cancelled:
            self._metrics.cancelled.inc()
            self._end(running)
            return
        try:
            event = next(running.steps)
        except StopIteration:
            stream.put(None)
            self._end(running)
        except Exception as error:  # one request's trouble is not the others'
            log.exception("A request failed in the model")
            stream.put(RequestError(f"The model failed on this request ({type(error).__name__}).", 500))
            self._end(running)
        else:
            if event is not None:
                stream.put(event)

    def _end(self, running: _Running) -> None:
        running.steps.close()
        with self._changed:
            self._running.remove(running)
            self._count()

    def _count(self) -> None:
        self._metrics.waiting.set(len(self._waiting))
        self._metrics.running.set(len(self._running))
