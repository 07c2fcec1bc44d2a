"""What the routes share at which a model writes texts: jobs, the answer at once and the stream."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from langmill.errors import ConfigError, RequestError
from langmill.models.generation.config import Beams, Sampling
from langmill.models.generation.network import Ending
from langmill.serving.generation import Chunk, Completion, Scoring
from langmill.serving.jobs import Job, LoadedVersion
from langmill.serving.logprobs import Scored
from langmill.serving.middleware import Places
from langmill.serving.routes.base import Route
from langmill.serving.routes.decoding import GenerationBody, decoding_of, for_choice
from langmill.serving.streaming import EventStream, Streams, unless_gone
from langmill.serving.structured import build_guide
from langmill.tasks.base import Generates

GenerationBodyT = TypeVar("GenerationBodyT", bound=GenerationBody)


@dataclass(frozen=True)
class Prompt:
    """What a text goes on from."""

    ids: list[int]
    """The tokens that are read, at least one."""
    text: str
    """What the client sent, as text."""


@dataclass(frozen=True)
class Part:
    """A part of a choice: all of it, or what one event of a stream brings."""

    index: int
    """The choice's."""
    text: str
    ending: Ending | None
    """Why the choice ends here; None while it continues."""
    logprobs: Sequence[Scored]
    """Of the tokens of this part, where they are asked for."""
    is_first: bool
    """Whether the choice begins here."""


class GeneratingRoute(Route[GenerationBodyT]):
    """A route at which a model writes; a kind of it says what is asked and in what shape it answers."""

    ability: ClassVar[type[Any] | None] = Generates
    streams = True
    prompt_field: ClassVar[str]
    """The field of the body that holds what the model reads."""

    @abstractmethod
    def prompts(self, loaded: LoadedVersion, task: Generates, body: GenerationBodyT) -> list[Prompt]:
        """What the texts go on from; called in a thread.

        Raises RequestError where a prompt is too long, whatever its tokens are, or is none.
        """

    @abstractmethod
    def head(self, *, streamed: bool) -> dict[str, str]:
        """The `id` and `object` of a response, or of all events of a stream."""

    @abstractmethod
    def choices(self, loaded: LoadedVersion, body: GenerationBodyT, prompts: Sequence[Prompt]) -> Choices:
        """What makes the choices of one response."""

    async def handle(self, request: Request, body: GenerationBodyT) -> Response:
        """Generate the texts, sent at once or as they are written."""
        loaded = self.loaded_version(request, body.model)
        prompts = await asyncio.to_thread(self._prompts, loaded, body)
        jobs = await asyncio.to_thread(self._jobs, loaded, body, prompts)
        places: Places | None = getattr(request.state, "places", None)
        if places is not None:
            places.take(len(jobs) - 1)
        streams: Streams[Chunk | list[Chunk]] = Streams(self.service.engine, jobs)
        try:
            response = _Response(self, loaded, body, prompts, streams)
            first = await unless_gone(request, anext(response.parts))
            if body.stream:
                return EventStream(response.events(first), streams)
            return JSONResponse(await unless_gone(request, response.whole(first)))
        except BaseException:
            streams.cancel()
            raise

    @classmethod
    def warm_up(cls, loaded: LoadedVersion) -> None:
        """Generate two tokens."""
        model = loaded.model
        assert isinstance(model.task, Generates)
        ids = model.task.prompt_ids(model.tokenizer, "A first look")
        sampling = Sampling(2, temperature=1.0)
        model.tokenizer.decode(list(model.task.generate(model.network, ids, sampling)))

    def _prompts(self, loaded: LoadedVersion, body: GenerationBodyT) -> list[Prompt]:
        """The prompts, none of them too long. Raises RequestError for one that is, and for too many choices."""
        task, limit = loaded.model.task, self.service.prompt_limit(loaded)
        assert isinstance(task, Generates)
        prompts = self.prompts(loaded, task, body)
        longest = max(len(prompt.ids) for prompt in prompts)
        if longest > limit:
            raise RequestError(
                f"{self.prompt_field} has {longest} tokens; up to {limit} are allowed.", 400, self.prompt_field,
                "context_length_exceeded",
            )  # fmt: skip
        self._refuse_many(body, prompts)
        return prompts

    def _refuse_many(self, body: GenerationBodyT, prompts: Sequence[Prompt]) -> None:
        """Raise RequestError for more choices, or more tokens to be read, than could ever wait together."""
        settings = self.service.settings
        most = min(settings.max_inputs, settings.max_running + settings.max_waiting)
        if len(prompts) * body.n > most:
            field = self.prompt_field if len(prompts) > 1 else "n"
            asked = f"n is {body.n}" if field == "n" else f"{field} holds {len(prompts)} texts"
            raise RequestError(f"{asked}; up to {most} choices are allowed in one request.", 400, field)
        together = body.n * sum(len(prompt.ids) for prompt in prompts)
        if len(prompts) * body.n > 1 and together > settings.max_waiting_tokens:  # it could never be taken in
            raise RequestError(
                f"{self.prompt_field} has {together} tokens to be read; up to {settings.max_waiting_tokens} are "
                "allowed in one request (serving.max_waiting_tokens).",
                400,
                self.prompt_field,
            )

    def _jobs(self, loaded: LoadedVersion, body: GenerationBodyT, prompts: Sequence[Prompt]) -> list[Job[Any]]:
        """The jobs for the engine: the choices of the first prompt, then those of the next."""
        task = loaded.model.task
        assert isinstance(task, Generates)
        decoding = decoding_of(self.service.settings, loaded, body)
        grammar, guide = body.grammar, None
        if grammar is not None:
            field = "response_format" if body.structured_outputs is None else "structured_outputs"
            guide = build_guide(loaded, grammar, field)
        completions = [
            Completion(
                loaded,
                task,
                prompt_ids=prompt.ids,
                decoding=for_choice(fitted, number),
                stop=list(body.stop),
                streamed=body.stream,
                exact=body.exact or self.service.settings.exact,
                logprobs=body.top_logprobs_asked,
                echo_logprobs=body.echoes_logprobs,
                guide=guide and guide.copy(),
            )
            for prompt in prompts
            for fitted in [self._fitted(loaded, body, decoding, prompt)]
            for number in range(body.n)
        ]
        return [Scoring(each) if each.only_scores else each for each in completions]

    def _fitted(
        self, loaded: LoadedVersion, body: GenerationBodyT, decoding: Sampling | Beams, prompt: Prompt
    ) -> Sampling | Beams:
        """The decoding, as short as the room behind a prompt where no length is asked for.

        Raises RequestError where more tokens are asked for than there is room for.
        """
        # The lower of two limits is told, the server's or the model's own: who keeps to it is not refused again.
        task, field, most = loaded.model.task, body.max_tokens_field, self.service.settings.max_new_tokens
        assert isinstance(task, Generates)
        room = task.room(prompt.ids, loaded.model.max_length)
        if most < min(room, body.max_tokens or 0):
            raise RequestError(
                f"{field} is {body.max_tokens}; up to {most} are allowed (serving.max_new_tokens).", 400, field
            )
        asked = None if body.max_tokens is None else field
        try:
            return task.fit(decoding, prompt.ids, loaded.model.max_length, body.model, asked)
        except ConfigError as error:
            raise RequestError(str(error), 400, field, "context_length_exceeded") from error


class Choices(ABC):
    """The choices of one response in one shape; a kind of it says which.

    Args:
        loaded: The version that writes.
        prompts: What it goes on from.
        n: Choices for each.
    """

    def __init__(self, loaded: LoadedVersion, prompts: Sequence[Prompt], n: int) -> None:
        self.loaded = loaded
        self.prompts = [prompt for prompt in prompts for _ in range(n)]
        """Of each choice."""

    @abstractmethod
    def whole(self, part: Part) -> dict[str, Any]:
        """A choice that is sent at once."""

    @abstractmethod
    def events(self, part: Part) -> list[dict[str, Any]]:
        """A part of a choice, as the choices of none, one or more events of a stream."""


class _Response:
    """Texts in OpenAI's shape, counted as they are written."""

    def __init__(
        self,
        route: GeneratingRoute[Any],
        loaded: LoadedVersion,
        body: GenerationBody,
        prompts: Sequence[Prompt],
        streams: Streams[Chunk | list[Chunk]],
    ) -> None:
        self._metrics = route.service.metrics
        self._streams = streams
        self._prompt_tokens = sum(len(prompt.ids) for prompt in prompts)
        self._include_usage = body.stream_options.include_usage
        self._name = loaded.name
        self._tokens = [0] * len(streams)
        self._begun = [False] * len(streams)
        self._choices = route.choices(loaded, body, prompts)
        self._head = {**route.head(streamed=body.stream), "created": int(time.time()), **loaded.identity}
        self._metrics.prompt_tokens.labels(self._name).inc(self._prompt_tokens)
        self.parts = self._read()

    async def _read(self) -> AsyncIterator[Part]:
        async for index, event in self._streams.events():
            chunk = event if isinstance(event, Chunk) else event[0]
            first = not self._begun[index]
            if first:
                waited = time.monotonic() - self._streams.submitted
                self._metrics.first_token_seconds.labels(self._name).observe(waited)
                self._begun[index] = True
            self._metrics.generated_tokens.labels(self._name).inc(chunk.tokens - self._tokens[index])
            self._tokens[index] = chunk.tokens
            prompt = zip(self._choices.prompts[index].ids, chunk.prompt_logprobs or (), strict=False)
            scored = [*prompt, *((token.token_id, token) for token in chunk.logprobs)]
            yield Part(index, chunk.text, chunk.ending, scored, first)

    def _usage(self) -> dict[str, int]:
        written = sum(self._tokens)
        return {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": written,
            "total_tokens": self._prompt_tokens + written,
        }

    async def whole(self, first: Part) -> dict[str, Any]:
        """The texts in one object."""
        parts: list[list[Part]] = [[] for _ in self._tokens]
        parts[first.index].append(first)
        async for part in self.parts:
            parts[part.index].append(part)
        choices = [
            Part(
                index,
                "".join(part.text for part in each),
                each[-1].ending,
                [token for part in each for token in part.logprobs],
                is_first=True,
            )
            for index, each in enumerate(parts)
        ]
        return {**self._head, "choices": [self._choices.whole(each) for each in choices], "usage": self._usage()}

    async def events(self, first: Part) -> AsyncIterator[dict[str, Any]]:
        """The texts as events."""
        usage: dict[str, Any] = {"usage": None} if self._include_usage else {}
        for choice in self._choices.events(first):
            yield {**self._head, "choices": [choice], **usage}
        async for part in self.parts:
            for choice in self._choices.events(part):
                yield {**self._head, "choices": [choice], **usage}
        if self._include_usage:
            yield {**self._head, "choices": [], "usage": self._usage()}
