"""Hands requests for a model that a process beside this one runs to that process, and its answers back.

What a client sent is not changed but for what this server limits; an answer says which version gave it, as all answers
here do. A client that leaves ends the request there.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
from starlette.responses import JSONResponse, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from langmill.config.sections import Backend, Serving
from langmill.errors import RequestError
from langmill.serving.bodies import parsed, replayed
from langmill.serving.chosen import chosen
from langmill.serving.engine import Engine
from langmill.serving.middleware import Paths, Places, refusal
from langmill.serving.vllm import RemoteVersion

log = logging.getLogger(__name__)
PATHS = ("/v1/completions", "/v1/chat/completions")
"""What vLLM is asked; everything else about such a model is answered here."""
_LENGTHS = ("max_tokens", "max_completion_tokens")
_BAD_GATEWAY = 502
_TIMEOUT = httpx.Timeout(600.0, connect=5.0)
"""Of each wait: an answer that is not streamed comes at its end."""


class Relay:
    """Passes on what models of `serving.backends` are asked.

    Args:
        app: What answers everything else.
        engine: Knows which version is in service.
        settings: Limits, and which models run elsewhere.
        paths: Where models are asked.
    """

    def __init__(self, app: ASGIApp, engine: Engine, settings: Serving, paths: Paths) -> None:
        self._app = app
        self._engine = engine
        self._settings = settings
        self._paths = paths
        self._elsewhere = {name for name, backend in settings.backends.items() if backend is Backend.vllm}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, to the routes or to the process that runs the model."""
        if scope["method"] != "POST" or self._paths.find(scope["path"]) is None:
            await self._app(scope, receive, send)
            return
        message = await receive()
        replay, asked = replayed(message, receive), parsed(message.get("body", b""))
        name = asked.get("model")
        if not isinstance(name, str) or name not in self._elsewhere:
            await self._app(scope, replay, send)
            return
        loaded = chosen(name) or self._engine.loaded(name)
        if not isinstance(loaded, RemoteVersion):  # none yet: the routes say so
            await self._app(scope, replay, send)
            return
        try:
            texts = self._checked(loaded, scope["path"], asked)
            places: Places | None = scope.get("state", {}).get("places")
            if places is not None:
                places.take(texts - 1)
            loaded.process.running += texts
            try:
                await self._relay(loaded, asked, scope, replay, send)
            finally:
                loaded.process.running -= texts
        except RequestError as error:
            await refusal(error)(scope, replay, send)

    def _checked(self, loaded: RemoteVersion, path: str, asked: Mapping[str, Any]) -> int:
        """Refuse what this server does not allow; return how many answers are asked for."""
        for field in (*_LENGTHS, "n"):  # a text or a fraction would be read as a number there, and not be counted here
            given = asked.get(field)
            if given is not None and type(given) is not int:
                raise RequestError(f"{field} is {given!r}; allowed is a whole number.", 400, field)
        settings, running, texts = self._settings, loaded.process.running, _texts(asked)
        room = settings.max_running + settings.max_waiting
        if self._engine.draining:
            raise RequestError("The server is stopping; ask another one.", 503, code="stopping")
        if path not in PATHS:
            raise RequestError(
                f"{asked['model']} can't be asked at {path}; ask it at {' or '.join(PATHS)}.", 400, "model"
            )
        if texts > room:
            raise RequestError(
                f"The request asks for {texts} answers; {room} at once are what the server has places for "
                "(serving.max_running and serving.max_waiting).",
                400,
            )
        if running + texts > room:
            raise RequestError(
                f"{running} answers are under way; try again in a moment.", 503, code="overloaded", retry_after=1
            )
        for field in _LENGTHS:
            length = asked.get(field) or 0
            if length > settings.max_new_tokens:
                raise RequestError(
                    f"{field} is {length}; up to {settings.max_new_tokens} are allowed (serving.max_new_tokens).",
                    400,
                    field,
                )
        return texts

    async def _relay(
        self, loaded: RemoteVersion, asked: Mapping[str, Any], scope: Scope, receive: Receive, send: Send
    ) -> None:
        scope.setdefault("state", {})["answered_by"] = loaded.fingerprint
        transport = httpx.AsyncHTTPTransport(uds=str(loaded.process.socket))
        try:
            async with httpx.AsyncClient(transport=transport, base_url="http://vllm", timeout=_TIMEOUT) as client:
                await self._until_gone(self._answer(client, loaded, asked, scope, send), receive)
        except httpx.HTTPError as error:
            log.warning("%s does not answer: %r", loaded.fingerprint, error)
            raise RequestError(
                f"{loaded.name} does not answer at the moment; try again.",
                503,
                code="backend_unreachable",
                retry_after=5,
            ) from error

    async def _answer(
        self, client: httpx.AsyncClient, loaded: RemoteVersion, asked: Mapping[str, Any], scope: Scope, send: Send
    ) -> None:
        async with client.stream("POST", scope["path"], json=asked) as response:
            if response.headers.get("content-type", "").startswith("text/event-stream"):
                headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
                lines = _identified(response.aiter_lines(), loaded)
                await StreamingResponse(lines, media_type="text/event-stream", headers=headers)(scope, _held, send)
                return
            body = await response.aread()
            try:
                found = json.loads(body)
            except ValueError:
                found = None
            if response.status_code != httpx.codes.OK or not isinstance(found, dict):
                raise _refused(response.status_code, found)
            await JSONResponse({**found, **loaded.identity})(scope, _held, send)

    @staticmethod
    async def _until_gone(work: Any, receive: Receive) -> None:
        """Do the work, or break it off where the client leaves first."""

        async def gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        working, watching = asyncio.ensure_future(work), asyncio.ensure_future(gone())
        try:
            await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
        finally:
            for each in (working, watching):
                each.cancel()
            with contextlib.suppress(asyncio.CancelledError, httpx.HTTPError, RequestError):
                await working  # what it asked is closed before the next request


def _texts(asked: Mapping[str, Any]) -> int:
    """The answers that are asked for: `n` of each prompt. A prompt that is none, which vLLM refuses, counts once."""
    prompts = asked.get("prompt")
    count = len(prompts) if isinstance(prompts, list) and prompts and not isinstance(prompts[0], int) else 1
    return count * max(1, asked.get("n") or 1)


async def _identified(lines: AsyncIterator[str], loaded: RemoteVersion) -> AsyncIterator[str]:
    """A stream's events, each with who gave it; one that breaks off ends with an error and no `[DONE]`."""
    try:
        async for line in lines:
            text = line.removeprefix("data: ")
            if not text or text == line:
                continue
            if text != "[DONE]":
                text = json.dumps({**json.loads(text), **loaded.identity}, ensure_ascii=False)
            yield f"data: {text}\n\n"
    except (httpx.HTTPError, ValueError) as error:
        log.warning("%s broke off a stream: %r", loaded.fingerprint, error)
        broken = RequestError(f"{loaded.name} broke off its answer.", 500, code="backend_unreachable")
        yield f"data: {bytes(refusal(broken).body).decode()}\n\n"


async def _held() -> Message:
    """The client's leaving is watched elsewhere."""
    await asyncio.Event().wait()
    raise AssertionError


def _refused(status: int, body: Any) -> RequestError:
    """VLLM's refusal in the shape of ours; its faults are a gateway's."""
    said = body.get("error", body) if isinstance(body, dict) else {}
    message = str(said.get("message") or f"The model's process answered with status {status}.")[:1000]
    if status < 400 or status >= 500:
        return RequestError(message, _BAD_GATEWAY if status < 400 else status, code="backend_failed")
    code = said.get("code")
    return RequestError(message, status, said.get("param"), code if isinstance(code, str) else None)
