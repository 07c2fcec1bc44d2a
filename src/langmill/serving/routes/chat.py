"""`/v1/chat/completions`: OpenAI's chat."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, Field, model_validator

from langmill.errors import LangmillError, ModelError, RequestError, TokenizerError
from langmill.models.generation.network import Ending
from langmill.serving.jobs import LoadedVersion
from langmill.serving.logprobs import chat_logprobs
from langmill.serving.routes.base import ROUTES
from langmill.serving.routes.decoding import MAX_LOGPROBS, GenerationBody
from langmill.serving.routes.generating import Choices, GeneratingRoute, Part, Prompt
from langmill.serving.schema import Given, Identified, IgnoredObject, Items, NotOffered, Text, Usage
from langmill.tasks.base import Chats, Generates
from langmill.tokenization.chat_template import Message

_ROLES = {"developer": "system"}
"""OpenAI's names that chat templates have another one for."""
_BETWEEN = "\n\n"
"""Between what one speaker says in several messages."""


class TextPart(Given):
    """A part of what somebody says."""

    type: Literal["text"]
    text: Text
    prompt_cache_breakpoint: IgnoredObject = None


class ChatMessage(Given):
    """What somebody says."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | Items[TextPart] | None = Field(
        default=None, description="A text, or a list of parts that are texts; of the assistant null is an empty one."
    )
    name: NotOffered = None
    refusal: NotOffered = None
    audio: NotOffered = None
    annotations: NotOffered = None
    tool_calls: NotOffered = None
    function_call: NotOffered = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.content is None and self.role != "assistant":
            raise ValueError("lacks content; only the assistant may have said nothing")
        return self

    def message(self) -> Message:
        """As chat templates have it."""
        said = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content or ())
        return Message(_ROLES.get(self.role, self.role), said)


class ChatBody(GenerationBody):
    """A conversation that the model is to answer."""

    messages: Items[ChatMessage] = Field(
        min_length=1,
        description="A system message or none, then user and assistant alternately, the user last. Messages of one "
        "speaker in a row are one, with an empty line between them.",
    )
    max_completion_tokens: Annotated[int, Field(ge=1, lt=2**63)] | None = Field(
        default=None, description="Tokens to generate at most; `max_tokens` by its later name."
    )
    logprobs: bool = Field(default=False, description="Give the log probabilities of the answer's tokens.")
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_LOGPROBS)] | None = Field(
        default=None, description="With logprobs: those of so many of the most likely tokens, too."
    )
    tools: NotOffered = None
    tool_choice: Literal["none", "auto"] = "auto"
    parallel_tool_calls: bool = Field(default=True, description="Accepted: there are no tools.")
    functions: NotOffered = None
    function_call: Literal["none", "auto"] = "auto"
    modalities: Items[Literal["text"]] = Field(default=["text"])
    audio: NotOffered = None
    prediction: NotOffered = None
    web_search_options: NotOffered = None
    moderation: NotOffered = None
    reasoning_effort: Literal["none"] = "none"
    verbosity: Literal["medium"] = "medium"

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.max_completion_tokens is not None:
            if self.max_tokens not in (None, self.max_completion_tokens):
                raise ValueError("has max_tokens and another max_completion_tokens; send one of them")
            self.max_tokens = self.max_completion_tokens
        return self

    @model_validator(mode="after")
    def _top_of_logprobs(self) -> Self:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("has top_logprobs without logprobs: true; send both or none")
        return self

    @property
    def max_tokens_field(self) -> str:
        """The name by which it was sent."""
        return "max_tokens" if self.max_completion_tokens is None else "max_completion_tokens"

    @property
    def top_logprobs_asked(self) -> int | None:
        """As OpenAI's chat has it."""
        return (self.top_logprobs or 0) if self.logprobs else None


class AnswerMessage(BaseModel):
    """What the model says."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class TokenLogprob(BaseModel):
    """A token's log probability, in nats."""

    token: str
    logprob: float
    bytes: list[int]


class ChatTokenLogprob(TokenLogprob):
    """That of a token of the answer, and those of the most likely ones in its place."""

    top_logprobs: list[TokenLogprob]


class ChatLogprobs(BaseModel):
    """The log probabilities of an answer."""

    content: list[ChatTokenLogprob]
    refusal: None = None


class ChatChoice(BaseModel):
    """An answer; a stream's event has `delta` in place of `message`, with what is new."""

    index: int
    message: AnswerMessage
    logprobs: ChatLogprobs | None
    finish_reason: Ending | None


class ChatResponse(Identified):
    """The answers to a conversation."""

    id: str
    object: str
    created: int
    choices: list[ChatChoice]
    usage: Usage


@ROUTES.register("chat_completions")
class ChatCompletions(GeneratingRoute[ChatBody]):
    """The answer to a conversation, asked for in the model's own chat template."""

    path = "/v1/chat/completions"
    rank = 0
    ability = Chats
    body = ChatBody
    response = ChatResponse
    example: ClassVar = {
        "messages": [{"role": "user", "content": "What is the capital of France?"}], "max_completion_tokens": 40,
    }  # fmt: skip
    prompt_field = "messages"
    page_view = "chat"

    def prompts(self, loaded: LoadedVersion, task: Generates, body: ChatBody) -> list[Prompt]:
        """The conversation's tokens.

        Raises RequestError where it is too long, whatever its tokens are, or none that the model's template takes.
        """
        assert isinstance(task, Chats)
        messages = [message.message() for message in body.messages]
        limit = self.service.prompt_limit(loaded)
        loaded.refuse_long_text("".join(message.content for message in messages), limit, "messages")
        try:
            ids = task.conversation_ids(loaded.model.tokenizer, joined(messages))
        except (ModelError, TokenizerError) as error:
            raise _refusal(error) from error
        return [Prompt(ids, "")]

    def head(self, *, streamed: bool) -> dict[str, str]:
        """As OpenAI names them."""
        kind = "chat.completion.chunk" if streamed else "chat.completion"
        return {"id": f"chatcmpl-{secrets.token_hex(12)}", "object": kind}

    def choices(self, loaded: LoadedVersion, body: ChatBody, prompts: Sequence[Prompt]) -> Choices:
        """Messages of the assistant."""
        return _Answers(loaded, prompts, body)


class _Answers(Choices):
    def __init__(self, loaded: LoadedVersion, prompts: Sequence[Prompt], body: ChatBody) -> None:
        super().__init__(loaded, prompts, body.n)
        self._with_logprobs = body.logprobs

    def whole(self, part: Part) -> dict[str, Any]:
        """A message."""
        return {
            "index": part.index,
            "message": {"role": "assistant", "content": part.text, "refusal": None},
            "logprobs": self._logprobs(part),
            "finish_reason": part.ending and part.ending.value,
        }

    def events(self, part: Part) -> list[dict[str, Any]]:
        """First who speaks, then what is said, at last why it ends."""
        found = []
        if part.is_first:
            found.append(self._event(part, {"role": "assistant", "content": ""}))
        if part.text or part.logprobs:
            found.append(self._event(part, {"content": part.text}, logprobs=self._logprobs(part)))
        if part.ending:
            found.append(self._event(part, {}, finish_reason=part.ending.value))
        return found

    def _event(self, part: Part, delta: dict[str, str], **rest: Any) -> dict[str, Any]:
        return {"index": part.index, "delta": delta, "logprobs": None, "finish_reason": None, **rest}

    def _logprobs(self, part: Part) -> dict[str, Any] | None:
        return chat_logprobs(self.loaded.model.tokenizer, part.logprobs) if self._with_logprobs else None


def joined(messages: Sequence[Message]) -> list[Message]:
    """Messages of one speaker in a row as one."""
    groups = itertools.groupby(messages, key=lambda message: message.role)
    return [Message(role, _BETWEEN.join(message.content for message in said)) for role, said in groups]


def _refusal(error: LangmillError) -> RequestError:
    return RequestError(str(error), 400, "messages")
