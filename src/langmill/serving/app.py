"""The HTTP interface: OpenAI-compatible completions, classification, health, metrics and a page for people."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any, Protocol, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from langmill import __version__
from langmill.config.sections import Serving
from langmill.errors import ConfigError, RequestError
from langmill.models.generation.config import Beams, Sampling
from langmill.serving.engine import ResponseStream, BeamCompletion, LoadedVersion, Classification, Completion, Engine, Chunk
from langmill.serving.follower import AliasState
from langmill.serving.metrics import CONTENT_TYPE, Metrics
from langmill.serving.middleware import CLIENT_GONE, Accounting, Hosts, Keys, Limits, refusal
from langmill.serving.schema import ClassifyBody, CompletionBody, reason
from langmill.tasks.base import Classifies, Generates

ResultT = TypeVar("ResultT")
_ROUTES = frozenset(
    {"/", "/live", "/ready", "/metrics", "/v1/models", "/v1/completions", "/v1/classify", "/openapi.json"}
)


class Followed(Protocol):
    """What the interface needs to know of the follower."""

    @property
    def alias_states(self) -> dict[str, AliasState]:
        """The state of each model."""

    def failure(self) -> str | None:
        """Why nothing is followed any more."""


@dataclass(frozen=True)
class Service:
    """What the routes work with."""

    settings: Serving
    engine: Engine
    follower: Followed
    metrics: Metrics
    started: int
    """Seconds since the epoch."""

    def find(self, name: str) -> LoadedVersion:
        """The version that answers for a model.

        Raises:
            RequestError: The model is unknown (404) or has no version in service yet (503).
        """
        champion = self.engine.champion(name)
        if champion is not None:
            return champion
        if name in self.settings.recipes:
            raise RequestError(
                f"{name} has no version in service yet; /ready says why.", 503, "model", "model_not_ready"
            )
        known = ", ".join(self.settings.recipes)
        raise RequestError(f"There is no model {name!r} here; served: {known}.", 404, "model", "model_not_found")


def build_app(service: Service, key_digests: tuple[bytes, ...]) -> FastAPI:
    """The application; `key_digests` are SHA-256 digests of the keys, none for an open server."""
    app = FastAPI(title="Langmill", version=__version__, docs_url=None, redoc_url=None)
    settings = service.settings
    # The last one added is the outermost.
    app.add_middleware(Limits, max_bytes=settings.max_body_bytes, seconds=settings.body_seconds)
    app.add_middleware(Keys, digests=key_digests)
    app.add_middleware(Hosts, allowed=[settings.host, *settings.allowed_hosts])
    app.add_middleware(Accounting, metrics=service.metrics, routes=_ROUTES)
    _add_refusals(app)
    _add_health(app, service)
    _add_page(app)
    _add_answers(app, service)
    return app


def _add_refusals(app: FastAPI) -> None:
    @app.exception_handler(RequestError)
    async def refused(_: Request, error: RequestError) -> JSONResponse:
        return refusal(error)

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            wrong = RequestError(
                f"The body is sent as {kind[:60] or 'nothing in particular'}; send JSON, "
                "with the header Content-Type: application/json.",
                415,
            )
            return refusal(wrong)
        message, param = reason(error.errors(), request.url.path)
        return refusal(RequestError(message, 400, param))

    @app.exception_handler(HTTPException)
    async def unrouted(request: Request, error: HTTPException) -> JSONResponse:
        path = ascii(request.url.path)[1:-1][:100]
        messages = {
            400: "The body is not valid JSON.",
            404: f"There is nothing at {path}; try /v1/models.",
            405: f"{path} does not take {request.method} requests.",
        }
        response = refusal(RequestError(messages.get(error.status_code, str(error.detail)), error.status_code))
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Exception)
    async def bug(_: Request, error: Exception) -> JSONResponse:
        return refusal(RequestError(f"A bug in the server ({type(error).__name__}); its log has the trace.", 500))


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/live")
    async def live() -> JSONResponse:
        """The process is up and its models answer: if not, only a restart helps."""
        failure = service.engine.failure()
        return JSONResponse({"live": failure is None}, 200 if failure is None else 503)

    @app.get("/ready")
    async def ready(request: Request) -> JSONResponse:
        """Every model has a version in service and nothing has died. The reasons are for those who have a key."""
        reasons = [failure for failure in (service.engine.failure(), service.follower.failure()) if failure]
        if service.engine.draining:
            reasons.append("The server is stopping.")
        models = {}
        for name in service.settings.recipes:
            state = service.follower.alias_states[name]
            if state.version is None:
                why = state.refused_reason or state.trouble or "The registry is still to be asked."
                reasons.append(f"{name} has no version in service: {why}")
            models[name] = state.describe() if request.state.known else {"ready": state.version is not None}
        told = {"reasons": reasons} if request.state.known else {}
        return JSONResponse({"ready": not reasons, **told, "models": models}, 503 if reasons else 200)

    @app.get("/metrics")
    async def metrics() -> Response:
        """Counters for Prometheus."""
        return Response(service.metrics.exposition(), media_type=CONTENT_TYPE)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        """What is served, in which version, and where to ask."""
        champions = [champion for name in service.settings.recipes if (champion := service.engine.champion(name))]
        return {"object": "list", "data": [_card(service, champion) for champion in champions]}


def endpoints(champion: LoadedVersion) -> list[str]:
    """Where a model can be asked, by what its task can do."""
    abilities = {"/v1/completions": Generates, "/v1/classify": Classifies}
    return [path for path, ability in abilities.items() if isinstance(champion.model.task, ability)]


def _card(service: Service, champion: LoadedVersion) -> dict[str, Any]:
    return {
        "id": champion.name,
        "object": "model",
        "created": service.started,
        "owned_by": "langmill",
        "version": champion.version,
        "endpoints": endpoints(champion),
        "labels": list(champion.model.task.labels),
        "max_prompt_tokens": _prompt_limit(service, champion),
        "max_tokens": min(service.settings.max_new_tokens, champion.model.max_length),
        "context_length": champion.model.max_length,
    }


def _add_page(app: FastAPI) -> None:
    page = (files("langmill.serving") / "playground.html").read_text(encoding="utf-8")

    def source(tag: str) -> str:
        """The hash by which the policy allows what stands inside the page's one script or style, and nothing else."""
        inside = re.search(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert inside is not None
        return "'sha256-" + base64.b64encode(hashlib.sha256(inside[1].encode()).digest()).decode() + "'"

    policy = (
        f"default-src 'none'; script-src {source('script')}; style-src {source('style')}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = {"content-security-policy": policy, "x-content-type-options": "nosniff", "cache-control": "no-cache"}

    @app.get("/", include_in_schema=False)
    async def playground() -> HTMLResponse:
        return HTMLResponse(page, headers=headers)


def _add_answers(app: FastAPI, service: Service) -> None:
    @app.post("/v1/completions", response_model=None)
    async def completions(body: CompletionBody, request: Request) -> Response:
        """Go on from a prompt."""
        champion = service.find(body.model)
        request.state.answered_by = champion.fingerprint
        completion, prompt_tokens = await _completion(service, champion, body)
        answer = service.engine.submit(completion)
        del completion
        writer = _CompletionWriter(service, champion, body, prompt_tokens, answer)
        try:
            first = await _unless_gone(request, anext(answer))
        except BaseException:
            answer.cancel()
            raise
        if first is None:
            answer.cancel()
            return Response(status_code=CLIENT_GONE)
        if body.stream:
            return EventStream(writer.events(first), answer)
        try:
            whole = await _unless_gone(request, writer.whole(first))
        finally:
            answer.cancel()
        return Response(status_code=CLIENT_GONE) if whole is None else JSONResponse(whole)

    @app.post("/v1/classify", response_model=None)
    async def classify(body: ClassifyBody, request: Request) -> Response:
        """Tell the label of each text and how probable each label is."""
        champion = service.find(body.model)
        request.state.answered_by = champion.fingerprint
        task = champion.model.task
        if not isinstance(task, Classifies):
            raise RequestError(f"{body.model} generates text; ask it at /v1/completions.", 400, "model")
        texts = list(body.input)
        if len(texts) > service.settings.max_inputs:
            raise RequestError(
                f"input holds {len(texts)} texts; up to {service.settings.max_inputs} are allowed.", 400, "input"
            )
        counts = await asyncio.to_thread(_count_inputs, champion, texts, service.settings.max_prompt_tokens)
        answer = service.engine.submit(Classification(champion, task, texts))
        try:
            found = await _unless_gone(request, _last(answer))
        finally:
            answer.cancel()
        if found is None:
            return Response(status_code=CLIENT_GONE)
        service.metrics.prompt_tokens.labels(champion.name).inc(sum(counts))
        reach = champion.model.max_length
        service.metrics.truncated.labels(champion.name).inc(sum(count > reach for count in counts))
        data = []
        for index, (row, count) in enumerate(zip(found, counts, strict=True)):
            probabilities = {label: float(value) for label, value in zip(champion.model.task.labels, row, strict=True)}
            label = max(probabilities, key=lambda each: probabilities[each])
            data.append(
                {
                    "index": index,
                    "label": label,
                    "probability": probabilities[label],
                    "probabilities": probabilities,
                    "truncated": count > reach,
                }
            )
        usage = {"prompt_tokens": sum(counts), "completion_tokens": 0, "total_tokens": sum(counts)}
        return JSONResponse({"object": "list", **_signature(champion), "data": data, "usage": usage})


def _signature(champion: LoadedVersion) -> dict[str, Any]:
    """Who answered."""
    return {"model": champion.name, "version": champion.version, "system_fingerprint": champion.fingerprint}


def _prompt_limit(service: Service, champion: LoadedVersion) -> int:
    return min(service.settings.max_prompt_tokens, champion.model.max_length)


def _refuse_hopeless(champion: LoadedVersion, text: str, limit: int, param: str) -> None:
    """Refuse a text that is too long whatever its tokens are, without encoding it."""
    if len(text) > limit * champion.longest_token:
        raise RequestError(
            f"{param} has {len(text)} characters, which are more than {limit} tokens; shorten it.",
            400, param, "context_length_exceeded",
        )  # fmt: skip


def _count_inputs(champion: LoadedVersion, texts: list[str], limit: int) -> list[int]:
    counts = []
    for text in texts:
        _refuse_hopeless(champion, text, limit, "input")
        count = len(champion.model.tokenizer.encode(text))
        if count > limit:
            raise RequestError(
                f"input holds a text of {count} tokens; up to {limit} are allowed.", 400, "input",
                "context_length_exceeded",
            )  # fmt: skip
        counts.append(count)
    return counts


def _decoding(service: Service, champion: LoadedVersion, body: CompletionBody) -> Sampling | Beams:
    """How to write: as asked, and where nothing is asked, as the model's own `generation_config.json` has it.

    Raises:
        RequestError: Too much is asked for, or what does not go together.
    """
    config, settings = champion.model.generation_config, service.settings
    assert config is not None
    for name, most in (("max_tokens", settings.max_new_tokens), ("num_beams", settings.max_beams)):
        if (value := getattr(body, name)) is not None and value > most:
            raise RequestError(f"{name} is {str(value)[:20]}; up to {most} are allowed.", 400, name)
    if body.stream and (body.num_beams or 1) > 1:
        raise RequestError(
            "num_beams is more than 1 and stream is true; a search knows its text only at the end.", 400, "num_beams"
        )
    asked = {name: getattr(body, name) for name in _DECODING}
    asked["max_new_tokens"] = body.max_tokens or min(config.max_new_tokens, settings.max_new_tokens)
    searches = not body.stream and config.num_beams <= settings.max_beams
    try:
        decoding = config.decoding((champion.model.tokenizer.eot_id,), asked, searches=searches)
    except ConfigError as error:
        raise RequestError(str(error), 400, str(error).split(" ", 1)[0]) from error
    if isinstance(decoding, Sampling) and body.seed is None:
        return replace(decoding, seed=secrets.randbits(63))
    return decoding


_DECODING = (
    "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "num_beams", "length_penalty", "seed",
)  # fmt: skip


async def _completion(
    service: Service, champion: LoadedVersion, body: CompletionBody
) -> tuple[Completion | BeamCompletion, int]:
    """The request for the engine, and how many tokens its prompt has."""
    task = champion.model.task
    if not isinstance(task, Generates):
        raise RequestError(f"{body.model} tells labels; ask it at /v1/classify.", 400, "model")
    decoding = _decoding(service, champion, body)
    limit = _prompt_limit(service, champion)
    prompt = str(body.prompt)
    _refuse_hopeless(champion, prompt, limit, "prompt")
    prompt_ids = await asyncio.to_thread(task.prompt_ids, champion.model.tokenizer, prompt)
    if len(prompt_ids) > limit:
        raise RequestError(
            f"prompt has {len(prompt_ids)} tokens; up to {limit} are allowed.", 400, "prompt", "context_length_exceeded"
        )
    asked = None if body.max_tokens is None else "max_tokens"
    try:
        decoding = task.fit(decoding, prompt_ids, champion.model.max_length, body.model, asked)
    except ConfigError as error:
        raise RequestError(str(error), 400, "max_tokens", "context_length_exceeded") from error
    stop = list(body.stop or [])
    if isinstance(decoding, Beams):
        return BeamCompletion(champion, task, prompt_ids=prompt_ids, beams=decoding, stop=stop), len(prompt_ids)
    completion = Completion(
        champion,
        task,
        prompt_ids=prompt_ids,
        sampling=decoding,
        stop=stop,
        streamed=body.stream,
    )
    return completion, len(prompt_ids)


class _CompletionWriter:
    """Puts a completion's pieces into OpenAI's words."""

    def __init__(
        self, service: Service, champion: LoadedVersion, body: CompletionBody, prompt_tokens: int, answer: ResponseStream[Chunk]
    ) -> None:
        self._metrics = service.metrics
        self._answer = answer
        self._prompt_tokens = prompt_tokens
        self._include_usage = body.stream_options is not None and body.stream_options.include_usage
        self._name = champion.name
        self._tokens = 0
        self._head = {
            "id": f"cmpl-{secrets.token_hex(12)}",
            "object": "text_completion",
            "created": int(time.time()),
            **_signature(champion),
        }
        self._metrics.prompt_tokens.labels(self._name).inc(prompt_tokens)

    async def _pieces(self, first: Chunk) -> AsyncIterator[Chunk]:
        self._metrics.first_token_seconds.labels(self._name).observe(time.monotonic() - self._answer.submitted)
        self._note(first)
        yield first
        async for piece in self._answer:
            self._note(piece)
            yield piece

    def _note(self, piece: Chunk) -> None:
        self._metrics.generated_tokens.labels(self._name).inc(piece.tokens - self._tokens)
        self._tokens = piece.tokens

    def _usage(self) -> dict[str, int]:
        return {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": self._tokens,
            "total_tokens": self._prompt_tokens + self._tokens,
        }

    def _choice(self, text: str, piece: Chunk) -> dict[str, Any]:
        return {"index": 0, "text": text, "logprobs": None, "finish_reason": piece.ending and piece.ending.value}

    async def whole(self, first: Chunk) -> dict[str, Any]:
        """The answer in one object."""
        texts = []
        async for piece in self._pieces(first):
            texts.append(piece.text)
        return {**self._head, "choices": [self._choice("".join(texts), piece)], "usage": self._usage()}

    async def events(self, first: Chunk) -> AsyncIterator[str]:
        """The answer as server-sent events; an error on the way is an event too, and then no `[DONE]` follows."""
        try:
            async for piece in self._pieces(first):
                if piece.text or piece.ending:
                    yield _event({**self._head, "choices": [self._choice(piece.text, piece)]})
            if self._include_usage:
                yield _event({**self._head, "choices": [], "usage": self._usage()})
            yield "data: [DONE]\n\n"
        except RequestError as error:
            yield f"data: {bytes(refusal(error).body).decode()}\n\n"


class EventStream(StreamingResponse):
    """An answer as server-sent events; it is cancelled at the end, also if the client leaves before the first one."""

    def __init__(self, events: AsyncIterator[str], answer: ResponseStream[Any]) -> None:
        headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events. The cancelling is not left to the generator: one that was never begun has no `finally`."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._answer.cancel()


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


async def _last(answer: ResponseStream[ResultT]) -> ResultT:
    """The last event of a stream."""
    events = [event async for event in answer]
    return events[-1]


async def _unless_gone(request: Request, work: Awaitable[ResultT]) -> ResultT | None:
    """The result of `work`, or None, with `work` broken off, if the client goes away first."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working, watching = asyncio.ensure_future(work), asyncio.ensure_future(gone())
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for each in (working, watching):
            each.cancel()
