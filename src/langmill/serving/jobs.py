"""What the engine works on: jobs, the loaded version that each was made for, and the stream of its events."""

from __future__ import annotations

import asyncio
import contextlib
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Generator, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from langmill.errors import RequestError
from langmill.tasks.loading import LoadedModel

EventT = TypeVar("EventT")
ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")
BATCH_ITEMS = 8
"""Texts that are read in one step: enough to fill two cores, few enough that others don't wait long."""


@dataclass(frozen=True, eq=False)
class LoadedVersion:
    """A version in service; two that were loaded are two, whatever they hold."""

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

        Raises RequestError where it has; `field` of the request holds it.
        """
        if len(text) > limit * self.longest_token:
            raise RequestError(
                f"{field} has {len(text)} characters, which are more than {limit} tokens; shorten it.",
                400, field, "context_length_exceeded",
            )  # fmt: skip

    @staticmethod
    def refuse_many_tokens(count: int, limit: int) -> None:
        """Refuse one of several texts, given as `input`, that has more tokens than allowed, with a RequestError."""
        if count > limit:
            raise RequestError(
                f"input holds a text of {count} tokens; up to {limit} are allowed.", 400, "input",
                "context_length_exceeded",
            )  # fmt: skip


class Job(ABC, Generic[EventT]):
    """Work of the engine for one request."""

    prompt_tokens: int = 0
    """Tokens to be read before the first event; those that wait are limited."""

    def __init__(self, loaded: LoadedVersion) -> None:
        self.loaded = loaded

    @abstractmethod
    def steps(self) -> Generator[EventT | None, None, None]:
        """Do the work in short steps, in the engine's thread; None is a step without an event."""


class BatchJob(Job[list[ResultT]], Generic[ItemT, ResultT]):
    """Work on texts that are read in one forward pass with those of other requests; its event is the list of results.

    Jobs of one `group_key` are run together, their items sorted by `size`: few of a pass's tokens are padding then.
    """

    @property
    def group_key(self) -> Hashable:
        """Equal for jobs whose items one call of `run` may hold; here those of one class and one loaded version."""
        return type(self), id(self.loaded)

    @abstractmethod
    def items(self) -> Sequence[ItemT]:
        """The texts or token ids, in the order of the results."""

    @abstractmethod
    def size(self, item: ItemT) -> int:
        """About how long an item is, to sort by: tokens or characters."""

    @abstractmethod
    def run(self, items: Sequence[ItemT]) -> Sequence[ResultT]:
        """Compute the result of each item, in one forward pass; items of other jobs of this `group_key` among them.

        Raises ServingError where a result is not a number.
        """

    def steps(self) -> Generator[list[ResultT] | None, None, None]:
        """A few items a step; the only event is the list of results, in the order of the items."""
        items = self.items()
        order = sorted(range(len(items)), key=lambda index: self.size(items[index]))
        found: dict[int, ResultT] = {}
        for start in range(0, len(order), BATCH_ITEMS):
            group = order[start : start + BATCH_ITEMS]
            found.update(zip(group, self.run([items[index] for index in group]), strict=True))
            if len(found) < len(order):
                yield None
        yield [found[index] for index in range(len(order))]


class ResponseStream(Generic[EventT]):
    """The events of one submitted job, to be read in the event loop that submitted it.

    Leaving early needs `cancel`, after which the engine drops the job at its next step.
    """

    def __init__(self, job: Job[EventT]) -> None:
        self.job: Job[EventT] | None = job
        self.submitted = time.monotonic()
        self.cancelled = False
        self._loop = asyncio.get_running_loop()
        self._arrived: deque[EventT | BaseException | None] = deque()  # left by the engine's thread
        self._events: deque[EventT | BaseException | None] = deque()  # handed over to the event loop
        self._waiter: asyncio.Future[None] | None = None  # of whoever waits for the next one

    def __aiter__(self) -> AsyncIterator[EventT]:
        return self

    async def __anext__(self) -> EventT:
        while not self._events:
            self._waiter = self._loop.create_future()
            await self._waiter
        event = self._events.popleft()
        if event is None:
            raise StopAsyncIteration
        if isinstance(event, BaseException):
            raise event
        return event

    def cancel(self) -> None:
        """The client has gone: stop working on this."""
        self.cancelled = True

    def put(self, event: EventT | BaseException | None) -> None:
        """Leave an event for `deliver`, in the engine's thread; None ends the stream, an exception breaks it."""
        self._arrived.append(event)

    def _deliver(self) -> None:
        while self._arrived:
            self._events.append(self._arrived.popleft())
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @staticmethod
    def deliver(streams: Iterable[ResponseStream[Any]]) -> None:
        """Hand over the events of some streams to their event loops, each of which is woken once."""
        loops: dict[asyncio.AbstractEventLoop, list[ResponseStream[Any]]] = {}
        for stream in streams:
            if stream._arrived:
                loops.setdefault(stream._loop, []).append(stream)
        for loop, listening in loops.items():
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
                loop.call_soon_threadsafe(_deliver_all, listening)


def _deliver_all(streams: Sequence[ResponseStream[Any]]) -> None:
    for stream in streams:
        stream._deliver()
