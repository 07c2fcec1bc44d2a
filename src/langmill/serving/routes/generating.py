"""What the routes share at which a model writes a text: fields, limits, the answer at once and the stream."""

from __future__ import annotations

import asyncio
import secrets
import time
from abc import abstractmethod
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, field_validator

from langmill.config.sections import Serving
from langmill.errors import ConfigError, RequestError
from langmill.models.generation.config import LEAST_PENALTY, Beams, Sampling
from langmill.models.generation.network import Ending
from langmill.serving.generation import Chunk, Completion
from langmill.serving.jobs import LoadedVersion, ResponseStream
from langmill.serving.routes.base import Route
from langmill.serving.schema import NOT_OFFERED, Body
from langmill.serving.streaming import EventStream, unless_gone
from langmill.tasks.base import Generates

_MAX_STOPS = 4
_MAX_STOP_CHARACTERS = 100
_DECODING = (
    "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "num_beams", "length_penalty", "seed",
)  # fmt: skip


class StreamOptions(BaseModel):
    """OpenAI's options of a stream."""

    model_config = ConfigDict(strict=True, extra="forbid")

    include_usage: bool = Field(default=False, description="Send the token counts before the stream ends.")


class GenerationBody(Body):
    """How a text is to be written; what is left out is as the model's own `generation_config.json` has it."""

    max_tokens: int | None = Field(default=None, ge=1, lt=2**63, description="Tokens to generate at most.")
    temperature: float | None = Field(default=None, ge=0, le=2, description="0 is greedy.")
    top_p: float | None = Field(default=None, gt=0, le=1, description="Share of the probability to draw from.")
    top_k: int | None = Field(
        default=None, ge=0, description="Draw from this many of the most likely tokens; 0 from all."
    )
    min_p: float | None = Field(
        default=None, ge=0, le=1, description="Draw from tokens this many times as likely as the first."
    )
    repetition_penalty: float | None = Field(
        default=None, ge=LEAST_PENALTY, le=100, description="Make what is there already less likely; 1 does not."
    )
    num_beams: int | None = Field(
        default=None, ge=1, lt=2**63, description="Beam search with this many beams; not with stream."
    )
    length_penalty: float | None = Field(default=None, ge=-10, le=10, description="With beams: favour longer texts.")
    seed: int | None = Field(default=None, ge=0, lt=2**63, description="Equal seeds give equal texts.")
    stop: str | list[str] | None = Field(default=None, description="Up to four texts to stop before.")
    stream: bool = Field(default=False, description="Send the text as server-sent events while it is written.")
    stream_options: StreamOptions | None = None
    n: Literal[1] = 1
    presence_penalty: Literal[0] = 0
    frequency_penalty: Literal[0] = 0
    logit_bias: Annotated[dict[str, float] | None, NOT_OFFERED] = Field(default=None, description="Only null.")

    @field_validator("stop")
    @classmethod
    def _few_stops(cls, value: str | list[str] | None) -> list[str]:
        stops = [value] if isinstance(value, str) else value or []
        if len(stops) > _MAX_STOPS:
            raise ValueError(f"holds {len(stops)} texts; up to {_MAX_STOPS} are allowed")
        if any(not 0 < len(stop) <= _MAX_STOP_CHARACTERS for stop in stops):
            raise ValueError(f"holds a text that does not have 1 to {_MAX_STOP_CHARACTERS} characters")
        return stops


GenerationBodyT = TypeVar("GenerationBodyT", bound=GenerationBody)


class GeneratingRoute(Route[GenerationBodyT]):
    """A route at which a model writes; a kind of it says what is asked and in what shape it answers."""

    ability = Generates
    prompt_field: ClassVar[str]
    """The field of the body that holds what the model reads."""

    @abstractmethod
    def prompt_ids(self, loaded: LoadedVersion, task: Generates, body: GenerationBodyT) -> list[int]:
        """The tokens that generation starts from; called in a thread.

        Raises:
            RequestError: The prompt is too long, whatever its tokens are.
        """

    @abstractmethod
    def head(self, *, streamed: bool) -> dict[str, str]:
        """The `id` and `object` of a response, or of all events of a stream."""

    @abstractmethod
    def choice(self, text: str, ending: Ending | None, *, streamed: bool) -> dict[str, Any]:
        """The whole text, or one event's part of it; `ending` says why it ends here."""

    async def handle(self, request: Request, body: GenerationBodyT) -> Response:
        """Generate a text, sent at once or as it is written."""
        loaded = self.loaded_version(request, body.model)
        job, prompt_tokens = await self._job(loaded, body)
        stream = self.service.engine.submit(job)
        response = _Response(self, loaded, body, prompt_tokens, stream)
        try:
            first = await unless_gone(request, anext(stream))
            if body.stream:
                return EventStream(response.events(first), stream)
            return JSONResponse(await unless_gone(request, response.whole(first)))
        except BaseException:
            stream.cancel()
            raise

    @classmethod
    def warm_up(cls, loaded: LoadedVersion) -> None:
        """Generate two tokens."""
        model = loaded.model
        assert isinstance(model.task, Generates)
        ids = model.task.prompt_ids(model.tokenizer, "A first look")
        sampling = Sampling(2, temperature=1.0)
        model.tokenizer.decode(list(model.task.generate(model.network, ids, sampling)))

    async def _job(self, loaded: LoadedVersion, body: GenerationBodyT) -> tuple[Completion, int]:
        """The job for the engine, and how many tokens its prompt has."""
        task, settings = loaded.model.task, self.service.settings
        assert isinstance(task, Generates)
        decoding = _decoding(settings, loaded, body)
        limit = self.service.prompt_limit(loaded)
        prompt_ids = await asyncio.to_thread(self.prompt_ids, loaded, task, body)
        if len(prompt_ids) > limit:
            raise RequestError(
                f"{self.prompt_field} has {len(prompt_ids)} tokens; up to {limit} are allowed.", 400,
                self.prompt_field, "context_length_exceeded",
            )  # fmt: skip
        # The lower of two limits is told, the server's or the model's own: who keeps to it is not refused again.
        most, room = settings.max_new_tokens, task.room(prompt_ids, loaded.model.max_length)
        if most < min(room, body.max_tokens or 0):
            raise RequestError(
                f"max_tokens is {body.max_tokens}; up to {most} are allowed (serving.max_new_tokens).",
                400,
                "max_tokens",
            )
        asked = None if body.max_tokens is None else "max_tokens"
        try:
            decoding = task.fit(decoding, prompt_ids, loaded.model.max_length, body.model, asked)
        except ConfigError as error:
            raise RequestError(str(error), 400, "max_tokens", "context_length_exceeded") from error
        job = Completion(
            loaded, task, prompt_ids=prompt_ids, decoding=decoding, stop=body.stop or [], streamed=body.stream
        )
        return job, len(prompt_ids)


def _decoding(settings: Serving, loaded: LoadedVersion, body: GenerationBody) -> Sampling | Beams:
    """How to write: as asked, and where nothing is asked, as the model's own `generation_config.json` has it.

    Raises:
        RequestError: Too much is asked for, or what does not go together.
    """
    model = loaded.model
    task, config = model.task, model.generation_config
    assert isinstance(task, Generates) and config is not None
    if (beams := body.num_beams or 1) > settings.max_beams:
        raise RequestError(f"num_beams is {beams}; up to {settings.max_beams} are allowed.", 400, "num_beams")
    if body.stream and beams > 1:
        raise RequestError(
            "num_beams is more than 1 and stream is true; a search knows its text only at the end.", 400, "num_beams"
        )
    asked = {name: getattr(body, name) for name in _DECODING}
    asked["max_new_tokens"] = body.max_tokens or min(config.max_new_tokens, settings.max_new_tokens)
    searches = not body.stream and config.num_beams <= settings.max_beams
    try:
        decoding = config.decoding(task.stop_ids(model.tokenizer), asked, searches=searches)
    except ConfigError as error:
        raise RequestError(str(error), 400, str(error).split(" ", 1)[0]) from error
    if isinstance(decoding, Sampling) and body.seed is None:
        return replace(decoding, seed=secrets.randbits(63))
    return decoding


class _Response:
    """A text in OpenAI's shape, counted as it is written."""

    def __init__(
        self,
        route: GeneratingRoute[Any],
        loaded: LoadedVersion,
        body: GenerationBody,
        prompt_tokens: int,
        stream: ResponseStream[Chunk],
    ) -> None:
        self._route = route
        self._metrics = route.service.metrics
        self._stream = stream
        self._prompt_tokens = prompt_tokens
        self._include_usage = body.stream_options is not None and body.stream_options.include_usage
        self._name = loaded.name
        self._tokens = 0
        self._head = {**route.head(streamed=body.stream), "created": int(time.time()), **loaded.identity}
        self._metrics.prompt_tokens.labels(self._name).inc(prompt_tokens)

    async def _chunks(self, first: Chunk) -> AsyncIterator[Chunk]:
        self._metrics.first_token_seconds.labels(self._name).observe(time.monotonic() - self._stream.submitted)
        self._note(first)
        yield first
        async for chunk in self._stream:
            self._note(chunk)
            yield chunk

    def _note(self, chunk: Chunk) -> None:
        self._metrics.generated_tokens.labels(self._name).inc(chunk.tokens - self._tokens)
        self._tokens = chunk.tokens

    def _usage(self) -> dict[str, int]:
        return {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": self._tokens,
            "total_tokens": self._prompt_tokens + self._tokens,
        }

    async def whole(self, first: Chunk) -> dict[str, Any]:
        """The text in one object."""
        texts = []
        async for chunk in self._chunks(first):
            texts.append(chunk.text)
        choice = self._route.choice("".join(texts), chunk.ending, streamed=False)
        return {**self._head, "choices": [choice], "usage": self._usage()}

    async def events(self, first: Chunk) -> AsyncIterator[dict[str, Any]]:
        """The text as events."""
        async for chunk in self._chunks(first):
            if chunk.text or chunk.ending:
                yield {**self._head, "choices": [self._route.choice(chunk.text, chunk.ending, streamed=True)]}
        if self._include_usage:
            yield {**self._head, "choices": [], "usage": self._usage()}
