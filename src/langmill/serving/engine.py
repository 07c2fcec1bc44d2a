"""The thread that runs the models, and the way to it from the event loop.

One thread owns all forward passes. It takes requests from a bounded queue and advances up to `max_running` of them by
turns, one token (or one group of texts) each, so that a short request does not wait behind a long one. `Engine.submit`
gives back an asynchronous stream; what happens between the two is this module's own business: decoding several requests
in one forward pass would change nothing outside it.

A request holds the `LoadedVersion` it was made for. A swap puts another one in its place for requests to come; the old one
is freed when its last request lets go of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch

from langmill.errors import RequestError, ServingError
from langmill.models.generation.config import Beams, Sampling
from langmill.models.generation.network import Ending
from langmill.serving.metrics import Metrics
from langmill.tasks.base import Classifies, Generates
from langmill.tasks.loading import LoadedModel
from langmill.tokenization.text_stream import TextStream

log = logging.getLogger(__name__)
EventT = TypeVar("EventT")
_GROUP = 8
"""Texts classified in one turn: enough to fill two cores, few enough that others don't wait long."""
_HOPELESS_SECONDS = 60.0
"""Requests are turned away once a turn has taken this long; until then they wait, since it may come back."""


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
        """`name:version`, the form in which answers and logs name it."""
        return f"{self.name}:{self.version}"


class Request(ABC, Generic[EventT]):
    """A piece of work for one champion."""

    def __init__(self, loaded: LoadedVersion) -> None:
        self.loaded = loaded

    @abstractmethod
    def steps(self) -> Iterator[EventT | None]:
        """Do the work by turns, each short; runs in the engine's thread. None is a turn with nothing to tell."""


@dataclass(frozen=True)
class Chunk:
    """Some more of a completion."""

    text: str
    tokens: int
    """Tokens generated so far."""
    ending: Ending | None
    """Why the text ends here; None while it goes on."""


class Completion(Request[Chunk]):
    """Goes on from a prompt.

    Args:
        loaded: The version that answers.
        task: What it can do.
        prompt_ids: What to go on from.
        sampling: How.
        stop: Texts to stop before.
        streamed: Tell every token; else only the first, for the clock, and all the others together at the end, which
            spares the event loop a call for each.
    """

    def __init__(
        self,
        loaded: LoadedVersion,
        task: Generates,
        *,
        prompt_ids: Sequence[int],
        sampling: Sampling,
        stop: Sequence[str],
        streamed: bool,
    ) -> None:
        super().__init__(loaded)
        self._streamed = streamed
        self._task = task
        self._prompt_ids = list(prompt_ids)
        self._sampling = sampling
        self._text = TextStream(loaded.model.tokenizer.decode, stop)

    def steps(self) -> Iterator[Chunk | None]:
        """One token a turn."""
        tokens = self._task.generate(self.loaded.model.network, self._prompt_ids, self._sampling)
        count, held = 0, ""
        while True:
            try:
                token = next(tokens)
            except StopIteration as end:
                ending: Ending = end.value
                break
            count += 1
            text = self._text.push(token)
            if self._text.stopped:
                tokens.close()
                yield Chunk(held + text, count, Ending.stop)
                return
            if self._streamed or count == 1:
                yield Chunk(text, count, None)
            else:
                held += text
                yield None
        text = held + self._text.finish()
        yield Chunk(text, count, Ending.stop if self._text.stopped else ending)


class BeamCompletion(Request[Chunk]):
    """Writes the likeliest text.

    Args:
        loaded: The version that answers.
        task: What it can do.
        prompt_ids: What to go on from.
        beams: How to search.
        stop: Texts to stop before.
    """

    def __init__(
        self, loaded: LoadedVersion, task: Generates, *, prompt_ids: Sequence[int], beams: Beams, stop: Sequence[str]
    ) -> None:
        super().__init__(loaded)
        self._task = task
        self._prompt_ids = list(prompt_ids)
        self._beams = beams
        self._text = TextStream(loaded.model.tokenizer.decode, stop)

    def steps(self) -> Iterator[Chunk | None]:
        """One token of every beam a turn; the only piece comes last."""
        model = self.loaded.model
        tokens = yield from self._task.search(model.network, model.tokenizer, self._prompt_ids, self._beams)
        text = "".join(self._text.push(token) for token in tokens) + self._text.finish()
        full = len(tokens) == self._beams.max_new_tokens and not self._text.stopped
        yield Chunk(text, len(tokens), Ending.length if full else Ending.stop)


class Classification(Request[np.ndarray]):
    """Tells the probability of each label for some texts."""

    def __init__(self, loaded: LoadedVersion, task: Classifies, texts: Sequence[str]) -> None:
        super().__init__(loaded)
        self._task = task
        self._texts = list(texts)

    def steps(self) -> Iterator[np.ndarray | None]:
        """A few texts a turn; the only event is the `(texts, labels)` array."""
        model = self.loaded.model
        order = sorted(range(len(self._texts)), key=lambda index: len(self._texts[index]))  # little padding
        rows: dict[int, np.ndarray] = {}
        for start in range(0, len(order), _GROUP):
            group = order[start : start + _GROUP]
            found = self._task.probabilities(model.network, model.tokenizer, [self._texts[index] for index in group])
            if not np.isfinite(found).all():
                raise ServingError(f"{self.loaded.fingerprint} gave a probability that is not a number.")
            rows.update(zip(group, found, strict=True))
            if start + _GROUP < len(order):
                yield None
        yield np.stack([rows[index] for index in range(len(order))])


class ResponseStream(Generic[EventT]):
    """The events of one submitted request, to be read in the event loop that submitted it.

    Leaving early needs `cancel`, after which the engine drops the request at its next turn.
    """

    def __init__(self, request: Request[EventT]) -> None:
        self.request: Request[EventT] | None = request
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
    answer: ResponseStream[Any]
    steps: Iterator[Any]


class Engine:
    """Runs requests by turns in a thread of its own.

    Args:
        max_running: Requests that take turns.
        max_waiting: Requests that wait to.
        metrics: Where they are counted.
        stalled_seconds: A turn that takes longer counts as a failure.
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
        self._turn_began: float | None = None
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)

    # Loaded versions -------------------------------------------------------------------------------------------------------

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
        """Why the engine can't answer, in a sentence; None when all is well, or when it was told to stop."""
        return self._failure(self._stalled_seconds)

    def _failure(self, patience: float) -> str | None:
        if self._stopping:
            return None
        if not self._thread.is_alive():
            return "The thread that runs the models has ended; restart the server and read its log."
        began = self._turn_began
        if began is not None and time.monotonic() - began > patience:
            return f"The model has not come back for {time.monotonic() - began:.0f} s; restart the server."
        return None

    # Requests --------------------------------------------------------------------------------------------------------

    def submit(self, request: Request[EventT]) -> ResponseStream[EventT]:
        """Queue a request; call it in an event loop.

        Raises:
            RequestError: Too many are waiting, the server is stopping, or the engine is dead (all 503).
        """
        failure = self._failure(_HOPELESS_SECONDS)
        if failure is not None:
            raise RequestError(failure, 503, code="engine_dead")
        answer = ResponseStream(request)
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
            self._waiting.append(answer)
            self._count()
            self._changed.notify_all()
        return answer

    # The thread ------------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        reason: BaseException = RequestError("The server stopped before the answer was complete.", 503, code="stopping")
        try:
            with torch.inference_mode():
                while self._admit():
                    for running in list(self._running):
                        self._turn_began = time.monotonic()
                        self._advance(running)
                        self._turn_began = None
        except BaseException as error:
            log.exception("The engine's thread has died")
            reason = RequestError(f"The engine died ({type(error).__name__}); read the server's log.", 500)
        finally:
            with self._changed:
                self._draining = True
                for answer in [*(running.answer for running in self._running), *self._waiting]:
                    answer.put(reason)
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
                answer = self._waiting.popleft()
                if answer.cancelled or answer.request is None:
                    self._metrics.cancelled.inc()
                    continue
                self._running.append(_Running(answer, answer.request.steps()))
                answer.request = None  # the steps hold the champion; nothing else needs it
            self._count()
            return True

    def _advance(self, running: _Running) -> None:
        answer = running.answer
        if answer.cancelled:
            self._metrics.cancelled.inc()
            self._end(running)
            return
        try:
            event = next(running.steps)
        except StopIteration:
            answer.put(None)
            self._end(running)
        except Exception as error:  # one request's trouble is not the others'
            log.exception("A request failed in the model")
            answer.put(RequestError(f"The model failed on this request ({type(error).__name__}).", 500))
            self._end(running)
        else:
            if event is not None:
                answer.put(event)

    def _end(self, running: _Running) -> None:
        close = getattr(running.steps, "close", None)
        if close is not None:
            close()
        with self._changed:
            self._running.remove(running)
            self._count()

    def _count(self) -> None:
        self._metrics.waiting.set(len(self._waiting))
        self._metrics.running.set(len(self._running))
