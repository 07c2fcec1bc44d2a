"""From the engine's stream of events to a response, and what happens when its client leaves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from langmill.errors import RequestError
from langmill.serving.engine import Engine
from langmill.serving.jobs import Job, ResponseStream
from langmill.serving.middleware import CLIENT_GONE, refusal

ResultT = TypeVar("ResultT")
EventT = TypeVar("EventT")


class Cancels(Protocol):
    """Work that can be broken off."""

    def cancel(self) -> None:
        """The client has gone: stop working on this."""


class Streams(Generic[EventT]):
    """The events of several jobs of one request.

    Args:
        engine: Where they are submitted, all or none.
        jobs: One or more.

    Raises:
        RequestError: The engine does not take one of them.
    """

    def __init__(self, engine: Engine, jobs: Sequence[Job[EventT]]) -> None:
        self._streams: list[ResponseStream[EventT]] = []
        try:
            for job in jobs:
                self._streams.append(engine.submit(job))
        except BaseException:
            self.cancel()
            raise
        self.submitted = self._streams[0].submitted
        """When, in `time.monotonic()`."""

    def __len__(self) -> int:
        return len(self._streams)

    def cancel(self) -> None:
        """Drop all of them."""
        for stream in self._streams:
            stream.cancel()

    async def events(self) -> AsyncIterator[tuple[int, EventT]]:
        """Each event as it comes, with the number of its job; those of one job in their order.

        Raises RequestError where one of the jobs failed.
        """
        if len(self._streams) == 1:
            async for event in self._streams[0]:
                yield 0, event
            return
        waiting = {asyncio.ensure_future(anext(stream)): number for number, stream in enumerate(self._streams)}
        try:
            while waiting:
                done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for future in sorted(done, key=waiting.__getitem__):
                    number = waiting.pop(future)
                    try:
                        event = future.result()
                    except StopAsyncIteration:
                        continue
                    waiting[asyncio.ensure_future(anext(self._streams[number]))] = number
                    yield number, event
        finally:
            for future in waiting:
                future.cancel()


class EventStream(StreamingResponse):
    """A response as server-sent events; it is cancelled at the end, also if the client leaves before the first one.

    An error on the way is an event too, and then no `[DONE]` follows.
    """

    def __init__(self, events: AsyncIterator[dict[str, Any]], stream: Cancels) -> None:
        headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        super().__init__(_lines(events), media_type="text/event-stream", headers=headers)
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events. The cancelling is not left to the generator: one that was never begun has no `finally`."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._stream.cancel()


async def _lines(events: AsyncIterator[dict[str, Any]]) -> AsyncIterator[str]:
    try:
        async for event in events:
            yield f"data: {json.dumps(event, ensure_ascii=False)}\n\n"
        yield "data: [DONE]\n\n"
    except RequestError as error:
        yield f"data: {bytes(refusal(error).body).decode()}\n\n"


async def result_of(request: Request, engine: Engine, job: Job[ResultT]) -> ResultT:
    """Run a job that has one event, and give that.

    Raises RequestError where the engine takes nothing, the job failed, or the client has left.
    """

    async def last() -> ResultT:
        return [event async for event in stream][-1]

    stream = engine.submit(job)
    try:
        return await unless_gone(request, last())
    finally:
        stream.cancel()


async def unless_gone(request: Request, work: Awaitable[ResultT]) -> ResultT:
    """The result of `work`, which is broken off if the client leaves first.

    Raises RequestError where the client has left.
    """

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working, watching = asyncio.ensure_future(work), asyncio.ensure_future(gone())
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise RequestError("The client has left.", CLIENT_GONE)
    finally:
        for each in (working, watching):
            each.cancel()
