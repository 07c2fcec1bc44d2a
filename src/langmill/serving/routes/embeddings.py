"""`/v1/embeddings`: OpenAI's embeddings."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
from fastapi import Request
from pydantic import BaseModel, Field

from langmill.errors import ModelError, RequestError, ServingError
from langmill.serving.jobs import BatchJob, LoadedVersion
from langmill.serving.routes.base import ROUTES, Route
from langmill.serving.routes.decoding import loaded_ids
from langmill.serving.schema import Body, Identified, Inputs
from langmill.serving.streaming import result_of
from langmill.tasks.base import Embeds


class EmbeddingsBody(Body):
    """Texts to be embedded."""

    input: Inputs = Field(description="The text, a list of texts, the ids of a text's tokens, or a list of such ids.")
    encoding_format: Literal["float", "base64"] = Field(
        default="float",
        description="`base64` gives the bytes of little-endian float32, as OpenAI's clients ask for it.",
    )
    dimensions: int | None = Field(default=None, ge=1, description="Only the model's own number.")


class Embedded(BaseModel):
    """The embedding of one text."""

    object: str = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingsUsage(BaseModel):
    """Tokens read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsResponse(Identified):
    """The embedding of each text, in their order."""

    object: str = "list"
    data: list[Embedded]
    usage: EmbeddingsUsage


class Embedding(BatchJob[list[int], np.ndarray]):
    """Computes the embeddings of some texts, which are given by their tokens."""

    def __init__(self, loaded: LoadedVersion, task: Embeds, ids: Sequence[list[int]]) -> None:
        super().__init__(loaded)
        self.prompt_tokens = sum(map(len, ids))
        self._task = task
        self._ids = ids

    def items(self) -> Sequence[list[int]]:
        """The tokens of each text."""
        return self._ids

    def size(self, item: list[int]) -> int:
        """Tokens."""
        return len(item)

    def run(self, items: Sequence[list[int]]) -> Sequence[np.ndarray]:
        """Embed them, `(dim,)` each."""
        model = self.loaded.model
        found = self._task.embed(model.network, model.tokenizer, items)
        if not np.isfinite(found).all():
            raise ServingError(f"{self.loaded.fingerprint} gave an embedding that is not a number.", code="diverged")
        return list(found)


@ROUTES.register("embeddings")
class Embeddings(Route[EmbeddingsBody]):
    """The embedding of each text: the mean of the model's last hidden states, of length 1."""

    path = "/v1/embeddings"
    rank = 2
    ability = Embeds
    body = EmbeddingsBody
    response = EmbeddingsResponse
    example: ClassVar = {"input": "A wonderful film, I laughed and cried."}

    async def handle(self, request: Request, body: EmbeddingsBody) -> EmbeddingsResponse:
        """Embed the texts in one job."""
        loaded = self.loaded_version(request, body.model)
        task = loaded.model.task
        assert isinstance(task, Embeds)
        self.service.refuse_many(body.input)
        ids = await asyncio.to_thread(self._ids, loaded, task, body)
        rows = await result_of(request, self.service.engine, Embedding(loaded, task, ids))
        found = np.stack(rows)
        if body.dimensions not in (None, found.shape[1]):
            raise RequestError(
                f"dimensions is {body.dimensions}; the embeddings of {loaded.name} have {found.shape[1]}.", 400,
                "dimensions",
            )  # fmt: skip
        count = sum(map(len, ids))
        self.service.metrics.prompt_tokens.labels(loaded.name).inc(count)
        usage = EmbeddingsUsage(prompt_tokens=count, total_tokens=count)
        return EmbeddingsResponse(**loaded.identity, data=_described(found, body.encoding_format), usage=usage)

    @classmethod
    def warm_up(cls, loaded: LoadedVersion) -> None:
        """Embed the example."""
        model = loaded.model
        assert isinstance(model.task, Embeds)
        found = model.task.embed(model.network, model.tokenizer, [model.tokenizer.encode(cls.example["input"])[:8]])
        if len(found) != 1 or not np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-3):
            raise ModelError("Its embeddings do not have the length 1.", code="mismatch")

    def _ids(self, loaded: LoadedVersion, task: Embeds, body: EmbeddingsBody) -> list[list[int]]:
        """The tokens of each text.

        Raises RequestError where one has too many, or none, or such as the vocabulary lacks.
        """
        tokenizer = loaded.model.tokenizer
        limit = min(self.service.settings.max_prompt_tokens, task.embed_length(tokenizer, loaded.model.max_length))
        found = []
        for each in body.input:
            if isinstance(each, str):
                loaded.refuse_long_text(each, limit, "input")
                ids = tokenizer.encode(each)
            else:
                ids = loaded_ids(loaded, each, "input")
            if not ids:
                raise RequestError("input holds an empty text, which has no embedding.", 400, "input")
            loaded.refuse_many_tokens(len(ids), limit)
            found.append(ids)
        return found


def _described(found: np.ndarray, encoding: str) -> list[Embedded]:
    rows = found.astype("<f4")
    if encoding == "base64":
        return [Embedded(index=n, embedding=base64.b64encode(row.tobytes()).decode()) for n, row in enumerate(rows)]
    return [Embedded(index=n, embedding=row.tolist()) for n, row in enumerate(rows)]
