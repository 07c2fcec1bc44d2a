"""`/v1/completions`: OpenAI's completions."""

from __future__ import annotations

import secrets
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Field, field_validator

from langmill.models.generation.network import Ending
from langmill.serving.jobs import LoadedVersion
from langmill.serving.routes.base import ROUTES
from langmill.serving.routes.generating import GeneratingRoute, GenerationBody
from langmill.serving.schema import NOT_OFFERED, Identified, Text, Usage
from langmill.tasks.base import Chats, Generates, Task


class CompletionBody(GenerationBody):
    """A prompt and how to continue it."""

    prompt: Text | list[Text] = Field(description="What to continue; empty begins a new text. A list holds one text.")
    best_of: Literal[1] = 1
    echo: Annotated[bool, NOT_OFFERED] = Field(default=False, description="Only false.")
    logprobs: Annotated[int | None, NOT_OFFERED] = Field(default=None, description="Only null.")
    suffix: Annotated[str | None, NOT_OFFERED] = Field(default=None, description="Only null.")

    @field_validator("prompt")
    @classmethod
    def _one_prompt(cls, value: str | list[str]) -> str:
        if isinstance(value, list):
            if len(value) != 1:
                raise ValueError(f"holds {len(value)} texts; send one text a request")
            return value[0]
        return value


class CompletionChoice(BaseModel):
    """A text, or a part of it in a stream's event."""

    index: int
    text: str
    logprobs: None
    finish_reason: Ending | None


class CompletionResponse(Identified):
    """A completion; a stream's events have the same shape, and `usage` in the last one if asked for."""

    id: str
    object: str
    created: int
    choices: list[CompletionChoice]
    usage: Usage


@ROUTES.register("completions")
class Completions(GeneratingRoute[CompletionBody]):
    """The continuation of a prompt."""

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

    def prompt_ids(self, loaded: LoadedVersion, task: Generates, body: CompletionBody) -> list[int]:
        """The prompt's tokens. Raises RequestError where it is too long, whatever they are."""
        prompt = str(body.prompt)
        loaded.refuse_long_text(prompt, self.service.prompt_limit(loaded), "prompt")
        return task.prompt_ids(loaded.model.tokenizer, prompt)

    def head(self, *, streamed: bool) -> dict[str, str]:
        """The same for a stream's events as for the text at once."""
        del streamed
        return {"id": f"cmpl-{secrets.token_hex(12)}", "object": "text_completion"}

    def choice(self, text: str, ending: Ending | None, *, streamed: bool) -> dict[str, Any]:
        """The same for a stream's events as for the text at once."""
        del streamed
        return {"index": 0, "text": text, "logprobs": None, "finish_reason": ending and ending.value}
