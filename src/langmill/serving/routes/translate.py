"""`/v1/translate`: the target of a source text."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, Field, field_validator

from langmill.errors import RequestError
from langmill.models.generation.network import Ending
from langmill.serving.jobs import LoadedVersion
from langmill.serving.routes.base import ROUTES
from langmill.serving.routes.decoding import GenerationBody
from langmill.serving.routes.generating import Choices, GeneratingRoute, Part, Prompt
from langmill.serving.schema import Identified, Items, Text, Usage, some_texts
from langmill.tasks.base import Generates, Translates


class TranslateBody(GenerationBody):
    """Texts to be translated."""

    input: Text | Items[Text] = Field(description="The text, or a list of texts.")
    source: Text | None = Field(default=None, description="The language of the texts: the model's, or left out.")
    target: Text | None = Field(default=None, description="The language to translate into: the model's, or left out.")
    n: Literal[1] = 1

    @field_validator("input")
    @classmethod
    def _some_text(cls, value: str | list[str]) -> list[str]:
        return some_texts(value, "translation")


class Translation(BaseModel):
    """The translation of one text, or a part of it in a stream's event."""

    index: int
    text: str
    source: str | None
    """The language of the text; null where the model's recipe does not say."""
    target: str | None
    finish_reason: Ending | None


class TranslateResponse(Identified):
    """The translation of each text, in their order."""

    id: str
    object: str
    created: int
    choices: list[Translation]
    usage: Usage


@ROUTES.register("translate")
class Translate(GeneratingRoute[TranslateBody]):
    """The translation of each text, or whatever else a model was trained to make of one."""

    path = "/v1/translate"
    rank = 0
    ability = Translates
    body = TranslateBody
    response = TranslateResponse
    example: ClassVar = {"input": "The file could not be opened."}
    prompt_field = "input"
    page_view = "translation"

    def prompts(self, loaded: LoadedVersion, task: Generates, body: TranslateBody) -> list[Prompt]:
        """The sources. Raises RequestError for one that is too long, and for languages that the model does not have."""
        assert isinstance(task, Translates)
        for field, asked, known in zip(("source", "target"), (body.source, body.target), task.languages, strict=True):
            if asked is not None and asked != known:
                knows = "does not say its language" if known is None else f"has {known} there"
                raise RequestError(
                    f"{field} is {asked[:40]!r}, and {loaded.name} {knows}; leave it out, or ask another model.",
                    400,
                    field,
                )
        limit = self.service.prompt_limit(loaded)
        for text in body.input:
            loaded.refuse_long_text(text, limit, "input")
        return [Prompt(task.prompt_ids(loaded.model.tokenizer, text), text) for text in body.input]

    def head(self, *, streamed: bool) -> dict[str, str]:
        """The same for a stream's events as for the texts at once."""
        del streamed
        return {"id": f"trans-{secrets.token_hex(12)}", "object": "translation"}

    def choices(self, loaded: LoadedVersion, body: TranslateBody, prompts: Sequence[Prompt]) -> Choices:
        """Translations."""
        return _Translations(loaded, prompts, body.n)


class _Translations(Choices):
    def whole(self, part: Part) -> dict[str, Any]:
        """A translation, or a part of one."""
        assert isinstance(self.loaded.model.task, Translates)
        source, target = self.loaded.model.task.languages
        return {
            "index": part.index,
            "text": part.text,
            "source": source,
            "target": target,
            "finish_reason": part.ending and part.ending.value,
        }

    def events(self, part: Part) -> list[dict[str, Any]]:
        """One event, of the same shape."""
        return [self.whole(part)] if part.text or part.ending else []
