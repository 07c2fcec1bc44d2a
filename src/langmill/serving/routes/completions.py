"""`/v1/completions`: OpenAI's completions."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Field

from langmill.errors import RequestError
from langmill.models.generation.network import Ending
from langmill.serving.jobs import LoadedVersion
from langmill.serving.logprobs import CompletionLogprobs
from langmill.serving.routes.base import ROUTES
from langmill.serving.routes.decoding import MAX_LOGPROBS, GenerationBody, loaded_ids
from langmill.serving.routes.generating import Choices, GeneratingRoute, Part, Prompt
from langmill.serving.schema import Identified, Inputs, NotOffered, Usage
from langmill.tasks.base import Chats, Generates, Task


class CompletionBody(GenerationBody):
    """Prompts and how to continue them."""

    prompt: Inputs = Field(description="What to continue: texts, or tokens as they are read. Empty begins a new text.")
    max_tokens: Annotated[int, Field(ge=0, lt=2**63)] | None = Field(
        default=None, description="Tokens to generate at most; 0 with echo."
    )
    echo: bool = Field(default=False, description="Give the prompt back before what continues it.")
    logprobs: Annotated[int, Field(ge=0, le=MAX_LOGPROBS)] | None = Field(
        default=None, description="Log probabilities of the tokens, and of so many of the most likely ones."
    )
    best_of: Literal[1] = 1
    suffix: NotOffered = None

    @property
    def top_logprobs_asked(self) -> int | None:
        """As OpenAI's completions have it: 0 gives those of the tokens themselves."""
        return self.logprobs

    @property
    def echoes_logprobs(self) -> bool:
        """Whether those of the prompt's tokens are wanted too."""
        return self.echo and self.logprobs is not None


class TokensLogprobs(BaseModel):
    """Log probabilities, in nats, in lists of one length."""

    tokens: list[str]
    token_logprobs: list[float | None]
    """Null for the first token of all, before which there is nothing."""
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]
    """Where each token begins, in characters of the choice's text."""


class CompletionChoice(BaseModel):
    """A text, or a part of it in a stream's event."""

    index: int
    text: str
    logprobs: TokensLogprobs | None
    finish_reason: Ending | None


class CompletionResponse(Identified):
    """Completions; a stream's events have the same shape, and `usage` in the last one if asked for."""

    id: str
    object: str
    created: int
    choices: list[CompletionChoice]
    usage: Usage


@ROUTES.register("completions")
class Completions(GeneratingRoute[CompletionBody]):
    """The continuation of a prompt, or of several."""

    path = "/v1/completions"
    body = CompletionBody
    response = CompletionResponse
    example: ClassVar = {"prompt": "The film", "max_tokens": 40, "temperature": 0.7}
    prompt_field = "prompt"
    page_view = "text"

    @classmethod
    def example_for(cls, task: Task) -> dict[str, Any]:
        """A question for a model that answers in a chat, the beginning of a text for others."""
        asked = {"prompt": "What is the capital of France?", "max_tokens": 40}
        return asked if isinstance(task, Chats) else dict(cls.example)

    def prompts(self, loaded: LoadedVersion, task: Generates, body: CompletionBody) -> list[Prompt]:
        """The prompts' tokens. Raises RequestError for one that is too long, or has tokens that the model lacks."""
        if body.max_tokens == 0 and not body.echo:
            raise RequestError("max_tokens is 0; it must be 1 or more, where echo is not true.", 400, "max_tokens")
        tokenizer, limit = loaded.model.tokenizer, self.service.prompt_limit(loaded)
        found = []
        for each in body.prompt:
            if isinstance(each, str):
                loaded.refuse_long_text(each, limit, "prompt")
                found.append(Prompt(task.prompt_ids(tokenizer, each), each))
            else:
                ids = task.given_ids(tokenizer, loaded_ids(loaded, each, "prompt"))
                found.append(Prompt(ids, tokenizer.decode(each)))
        return found

    def head(self, *, streamed: bool) -> dict[str, str]:
        """The same for a stream's events as for the texts at once."""
        del streamed
        return {"id": f"cmpl-{secrets.token_hex(12)}", "object": "text_completion"}

    def choices(self, loaded: LoadedVersion, body: CompletionBody, prompts: Sequence[Prompt]) -> Choices:
        """Texts, with their prompts where these are to be echoed."""
        return _Texts(loaded, prompts, body)


class _Texts(Choices):
    def __init__(self, loaded: LoadedVersion, prompts: Sequence[Prompt], body: CompletionBody) -> None:
        super().__init__(loaded, prompts, body.n)
        self._echo = body.echo
        self._logprobs = None
        if body.logprobs is not None:
            starts = [0 if body.echo else len(prompt.text) for prompt in self.prompts]
            self._logprobs = [CompletionLogprobs(loaded.model.tokenizer, start) for start in starts]

    def whole(self, part: Part) -> dict[str, Any]:
        """All of a choice."""
        logprobs = None if self._logprobs is None else self._logprobs[part.index].describe(part.logprobs)
        echoed = self.prompts[part.index].text if self._echo and part.is_first else ""
        return {
            "index": part.index,
            "text": echoed + part.text,
            "logprobs": logprobs,
            "finish_reason": part.ending and part.ending.value,
        }

    def events(self, part: Part) -> list[dict[str, Any]]:
        """One event, of the same shape; none where a token has no whole character yet."""
        choice = self.whole(part)
        return [choice] if choice["text"] or part.ending or part.logprobs else []
