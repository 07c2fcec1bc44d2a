"""`/tokenize`, `/detokenize` and `/tokenizer_info`: a model's vocabulary, in vLLM's shapes."""

from __future__ import annotations

import asyncio
import itertools
from typing import Annotated, Any, ClassVar, Literal

from fastapi import Request
from pydantic import BaseModel, Field, model_validator

from langmill.errors import ModelError, RequestError, TokenizerError
from langmill.serving.jobs import LoadedVersion
from langmill.serving.logprobs import token_text
from langmill.serving.routes.base import ROUTES, BodyT, Route
from langmill.serving.routes.chat import ChatMessage, joined
from langmill.serving.routes.decoding import loaded_ids
from langmill.serving.schema import Given, Items, Text
from langmill.tasks.base import Chats, Generates


class _Tokens(Route[BodyT]):
    """A route that asks a vocabulary."""

    def asked(self, request: Request, name: str | None) -> LoadedVersion:
        """The version whose vocabulary is asked, which need not be named where one model is served.

        Raises RequestError where it is unknown or not ready, or it must be named.
        """
        recipes = self.service.settings.recipes
        if name is None:
            if len(recipes) > 1:
                raise RequestError(f"model is missing; served: {', '.join(recipes)}.", 400, "model")
            name = recipes[0]
        return self.loaded_version(request, name)


class TokenizeBody(Given):
    """A text or a conversation whose tokens are wanted."""

    model: Text | None = Field(default=None, max_length=200, description="May be left out where one model is served.")
    prompt: Text | None = Field(default=None, description="The text.")
    messages: Items[ChatMessage] = Field(default=[], description="A conversation, in place of a text.")
    add_special_tokens: bool = Field(
        default=True, description="Put the end-of-text token where the model has it. A conversation has its template's."
    )
    add_generation_prompt: Literal[True] = True
    return_token_strs: bool = Field(default=False, description="Give each token's text, too.")

    @model_validator(mode="after")
    def _one_of_both(self) -> TokenizeBody:
        if (self.prompt is None) == (not self.messages):
            raise ValueError("has both a prompt and messages, or neither; send one of them")
        return self


class TokenizeResponse(BaseModel):
    """The tokens of a text."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None


@ROUTES.register("tokenize")
class Tokenize(_Tokens[TokenizeBody]):
    """The tokens that a model reads of a text or a conversation."""

    path = "/tokenize"
    body = TokenizeBody
    response = TokenizeResponse
    example: ClassVar = {"prompt": "The film"}

    async def handle(self, request: Request, body: TokenizeBody) -> TokenizeResponse:
        """Encode in a thread. A prompt that is the name of a special token is that token, and no other text is."""
        return await asyncio.to_thread(self._tokenize, self.asked(request, body.model), body)

    def _tokenize(self, loaded: LoadedVersion, body: TokenizeBody) -> TokenizeResponse:
        ids = self._encode(loaded, body)
        strings = [token_text(loaded.model.tokenizer, each) for each in ids] if body.return_token_strs else None
        return TokenizeResponse(count=len(ids), max_model_len=loaded.model.max_length, tokens=ids, token_strs=strings)

    def _encode(self, loaded: LoadedVersion, body: TokenizeBody) -> list[int]:
        tokenizer, task = loaded.model.tokenizer, loaded.model.task
        if body.prompt is None:
            if not isinstance(task, Chats):
                raise RequestError(f"{loaded.name} has no conversations; send a prompt.", 400, "messages")
            messages = [each.message() for each in body.messages]
            said = "".join(message.content for message in messages)
            loaded.refuse_long_text(said, self.service.prompt_limit(loaded), "messages")
            try:
                return task.conversation_ids(tokenizer, joined(messages))
            except (ModelError, TokenizerError) as error:
                raise RequestError(str(error), 400, "messages") from error
        if body.prompt in tokenizer.special_ids:
            return [tokenizer.special_ids[body.prompt]]
        # Of any length: alone it would be read under Python's lock, and stop the server meanwhile.
        ids: list[int] = tokenizer.encode_batch([body.prompt], 1)[0].tolist()
        if not (body.add_special_tokens and isinstance(task, Generates)):
            return ids
        end = [tokenizer.eot_id]
        return [*end * task.eot_before, *ids, *end * task.eot_after]


class DetokenizeBody(Given):
    """Tokens whose text is wanted."""

    model: Text | None = Field(default=None, max_length=200, description="May be left out where one model is served.")
    tokens: Items[Annotated[int, Field(ge=0, lt=2**31)]] = Field(description="Token ids.")


class DetokenizeResponse(BaseModel):
    """The text of tokens; special tokens stand there by their names."""

    prompt: str


@ROUTES.register("detokenize")
class Detokenize(_Tokens[DetokenizeBody]):
    """The text of tokens."""

    path = "/detokenize"
    body = DetokenizeBody
    response = DetokenizeResponse
    example: ClassVar = {"tokens": [10, 11]}

    async def handle(self, request: Request, body: DetokenizeBody) -> DetokenizeResponse:
        """Decode."""
        loaded = self.asked(request, body.model)
        tokenizer = loaded.model.tokenizer
        names = {number: name for name, number in tokenizer.special_ids.items()}
        runs = itertools.groupby(loaded_ids(loaded, body.tokens, "tokens"), key=names.__contains__)
        parts = [
            "".join(names[each] for each in run) if special else tokenizer.decode(list(run)) for special, run in runs
        ]
        return DetokenizeResponse(prompt="".join(parts))


class TokenizerInfo(BaseModel):
    """What a program must know to tokenize as the server does."""

    model: str
    tokenizer_class: str
    vocab_size: int
    model_max_length: int
    bos_token: str | None
    eos_token: str | None
    pad_token: str | None
    chat_template: str | None
    """Jinja; null for a model that does not chat."""


@ROUTES.register("tokenizer_info")
class TokenizerInformation(_Tokens[None]):
    """A model's vocabulary; `?model=NAME` says whose."""

    path = "/tokenizer_info"
    method = "GET"
    response = TokenizerInfo

    async def handle(self, request: Request, body: None) -> TokenizerInfo:
        """Describe it."""
        loaded = self.asked(request, request.query_params.get("model"))
        tokenizer, task = loaded.model.tokenizer, loaded.model.task
        template: Any = task.chat_template(tokenizer) if isinstance(task, Chats) else None
        names = tokenizer.token_names
        return TokenizerInfo(
            model=loaded.name,
            tokenizer_class="PreTrainedTokenizerFast",
            vocab_size=tokenizer.vocab_size,
            model_max_length=loaded.model.max_length,
            bos_token=names.get("bos_token"),
            eos_token=names.get("eos_token"),
            pad_token=names.get("pad_token"),
            chat_template=template,
        )
