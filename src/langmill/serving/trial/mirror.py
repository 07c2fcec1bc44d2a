"""Requests that two versions answer: the client gets one's answer, and a copy of the request goes to the other.

It stands behind the keys and the limits and before the routes, so that it knows no route: a copy passes through the
same application, with the other version chosen (`langmill.serving.chosen`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from langmill.serving.bodies import parsed, replayed
from langmill.serving.chosen import answering
from langmill.serving.jobs import LoadedVersion
from langmill.serving.trial.pairs import Answer, read_answer
from langmill.serving.trial.trials import RunningTrial, Trials

log = logging.getLogger(__name__)
_MAX_COPIES = 32
"""Copies that wait; a server that can't answer them in time compares fewer requests."""
_PATIENCE_SECONDS = 30.0
_STEP_SECONDS = 0.02
_MAX_ANSWER_BYTES = 4_000_000


class _Recorded:
    """Passes an answer on and keeps it."""

    def __init__(self, send: Send | None) -> None:
        self.status = 500
        self.body = bytearray()
        self.complete = False
        self._send = send

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["type"] == "http.response.body":
            if len(self.body) < _MAX_ANSWER_BYTES:
                self.body += message.get("body", b"")
            self.complete = not message.get("more_body", False)
        if self._send is not None:
            await self._send(message)


class Mirror:
    """Has a share of the requests answered twice.

    Args:
        app: What answers.
        trials: What is on trial.
        has_room: Whether a copy would take no live request's place now.
    """

    def __init__(self, app: ASGIApp, trials: Trials, has_room: Callable[[], bool]) -> None:
        self._app = app
        self._trials = trials
        self._has_room = has_room
        self._copies: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and a copy of it where it is drawn."""
        if not self._trials.any or scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        message = await receive()
        asked = parsed(message.get("body", b""))
        ids = [value.decode("latin-1") for key, value in scope["headers"] if key == b"x-request-id"]
        trial = self._trials.draw(asked.get("model"), ids[0] if ids else None)
        if trial is None:
            await self._app(scope, replayed(message, receive), send)
            return
        first, second = self._trials.answers(trial)
        # Before the routes add to it, and without the client's share: a copy is none of its requests.
        copied = {**scope, "state": {name: each for name, each in scope.get("state", {}).items() if name != "places"}}
        answer: Answer | None = Answer(True, 0.0)  # unless it comes back
        try:
            answer = await self._answer(first, scope, replayed(message, receive), _Recorded(send), asked)
        finally:
            if answer is not None and len(self._copies) < _MAX_COPIES:
                other = self._second(trial, second, {first.version: answer}, asked)
                task = asyncio.create_task(other(copied, message))
                self._copies.add(task)
                task.add_done_callback(self._copies.discard)

    async def _answer(
        self, loaded: LoadedVersion, scope: Scope, receive: Receive, recorded: _Recorded, asked: Mapping[str, Any]
    ) -> Answer | None:
        """One version's answer; None where it was refused or its client has gone: no version's fault."""
        began = time.monotonic()
        with answering(loaded):
            await self._app(scope, receive, recorded)
        seconds = time.monotonic() - began
        if 400 <= recorded.status < 500 or recorded.status == 503:
            return None
        if recorded.status < 400 and not recorded.complete:
            return None
        return read_answer(recorded.status, bytes(recorded.body), seconds, asked)

    def _second(
        self, trial: RunningTrial, loaded: LoadedVersion, by: dict[int, Answer], asked: Mapping[str, Any]
    ) -> Callable[[Scope, Message], Coroutine[Any, Any, None]]:
        """What has the other version answer, and notes the pair."""

        async def copy(scope: Scope, message: Message) -> None:
            deadline = time.monotonic() + _PATIENCE_SECONDS
            async with self._turn:  # one at a time, and only into places that no live request wants
                while not self._has_room():
                    if time.monotonic() > deadline:
                        return
                    await asyncio.sleep(_STEP_SECONDS)
                answer: Answer | None = Answer(True, 0.0)
                try:
                    answer = await self._answer(loaded, scope, replayed(message, _never), _Recorded(None), asked)
                except Exception:
                    log.exception("A copied request failed")
            if answer is not None:
                self._trials.add(trial, {**by, loaded.version: answer})

        return copy


async def _never() -> Message:
    """The client of a copy does not leave."""
    await asyncio.Event().wait()
    raise AssertionError
