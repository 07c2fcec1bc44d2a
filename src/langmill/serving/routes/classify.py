"""`/v1/classify`: the label of texts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from fastapi import Request
from pydantic import BaseModel, Field, field_validator

from langmill.errors import ModelError, ServingError
from langmill.serving.jobs import BatchJob, LoadedVersion
from langmill.serving.routes.base import ROUTES, Route
from langmill.serving.schema import Body, Identified, Items, Text, Usage, some_texts
from langmill.serving.streaming import result_of
from langmill.tasks.base import Classifies


class ClassifyBody(Body):
    """A request for the label of one text or several."""

    input: Text | Items[Text] = Field(description="The text, or a list of texts.")

    @field_validator("input")
    @classmethod
    def _some_text(cls, value: str | list[str]) -> list[str]:
        return some_texts(value, "label")


class Classified(BaseModel):
    """What is said of one text."""

    index: int
    label: str
    probability: float
    probabilities: dict[str, float]
    truncated: bool
    """Whether the model read only a part of it, as in training."""


class ClassifyResponse(Identified):
    """What is said of each text, in their order."""

    object: str = "list"
    data: list[Classified]
    usage: Usage


class Classification(BatchJob[str, np.ndarray]):
    """Computes the probability of each label for some texts of `prompt_tokens` tokens together."""

    def __init__(self, loaded: LoadedVersion, task: Classifies, texts: Sequence[str], prompt_tokens: int) -> None:
        super().__init__(loaded)
        self._task = task
        self.prompt_tokens = prompt_tokens
        self._texts = list(texts)

    def items(self) -> Sequence[str]:
        """The texts."""
        return self._texts

    def size(self, item: str) -> int:
        """Characters."""
        return len(item)

    def run(self, items: Sequence[str]) -> Sequence[np.ndarray]:
        """Compute a row of probabilities for each text. Raises ServingError where one is not a number."""
        model = self.loaded.model
        found = self._task.probabilities(model.network, model.tokenizer, items)
        if not np.isfinite(found).all():
            raise ServingError(f"{self.loaded.fingerprint} gave a probability that is not a number.", code="diverged")
        return list(found)


@ROUTES.register("classify")
class Classify(Route[ClassifyBody]):
    """The label of each text and how probable each label is."""

    path = "/v1/classify"
    rank = 0
    ability = Classifies
    body = ClassifyBody
    response = ClassifyResponse
    example: ClassVar = {"input": "A wonderful film, I laughed and cried."}
    page_view = "labels"

    async def handle(self, request: Request, body: ClassifyBody) -> ClassifyResponse:
        """Classify the texts in one job."""
        loaded = self.loaded_version(request, body.model)
        task, labels, metrics = loaded.model.task, loaded.model.task.labels, self.service.metrics
        assert isinstance(task, Classifies)
        texts = list(body.input)
        self.service.refuse_many(texts)
        counts = await asyncio.to_thread(_count, loaded, texts, self.service.settings.max_prompt_tokens)
        read = sum(min(count, loaded.model.max_length) for count in counts)
        found = await result_of(request, self.service.engine, Classification(loaded, task, texts, read))
        truncated = [count > loaded.model.max_length for count in counts]
        metrics.prompt_tokens.labels(loaded.name).inc(sum(counts))
        metrics.truncated.labels(loaded.name).inc(sum(truncated))
        data = [
            Classified(
                index=index,
                label=labels[row.argmax()],
                probability=float(row.max()),
                probabilities=dict(zip(labels, row.tolist(), strict=True)),
                truncated=shortened,
            )
            for index, (row, shortened) in enumerate(zip(found, truncated, strict=True))
        ]
        usage = Usage(prompt_tokens=sum(counts), completion_tokens=0, total_tokens=sum(counts))
        return ClassifyResponse(**loaded.identity, data=data, usage=usage)

    @classmethod
    def warm_up(cls, loaded: LoadedVersion) -> None:
        """Classify the example."""
        model = loaded.model
        assert isinstance(model.task, Classifies)
        found = model.task.probabilities(model.network, model.tokenizer, [cls.example["input"]])
        if found.shape != (1, len(model.task.labels)) or not np.allclose(found.sum(axis=1), 1, atol=1e-3):
            raise ModelError("The probabilities of its labels do not add up to 1.", code="mismatch")


def _count(loaded: LoadedVersion, texts: list[str], limit: int) -> list[int]:
    """Tokens of each text. Raises RequestError where one has more than `limit`."""
    counts = []
    for text in texts:
        loaded.refuse_long_text(text, limit, "input")
        count = len(loaded.model.tokenizer.encode(text))
        loaded.refuse_many_tokens(count, limit)
        counts.append(count)
    return counts
