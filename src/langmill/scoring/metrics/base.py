"""What a metric of written texts is, and how it is found by its name.

Each comes in two steps: what it needs of every example, as columns of the score table, and the metric itself from
weighted sums of these, so that a bootstrap of a thousand resamples looks at each text once. docs/decisions/0404 says
why they are these.

Shape suffixes: N examples, R resamples, C statistics of one example.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from langmill.config.constraints import require
from langmill.data.document import Document
from langmill.plugins import NoOptions, Registry
from langmill.scoring.base import Metric
from langmill.tasks.conditional_generation import references_of


class TextMetric(ABC):
    """One metric of written texts.

    Attributes:
        name: The one by which a recipe asks for it.
    """

    options_class: ClassVar[type[Any]] = NoOptions
    title: ClassVar[str]
    """As a person reads it."""
    higher_is_better: ClassVar[bool] = True
    how: ClassVar[str] = ""
    """How it is computed, where that is the same for all texts and versions; empty where the title says it."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def signature(self) -> str:
        """What a reader needs to get the same number elsewhere."""
        return self.how

    @property
    def metric(self) -> Metric:
        """What is known of the metric before anything is scored."""
        return Metric(self.name, self.title, self.higher_is_better, signature=self.signature)

    def metric_of(self, scores: pa.Table) -> Metric:
        """The metric with the signature that it has for these scores."""
        del scores
        return self.metric

    @abstractmethod
    def columns(self, produced: Sequence[str], documents: Sequence[Document]) -> dict[str, pa.Array]:
        """What the metric needs of each example; the columns' names begin with the metric's."""

    @abstractmethod
    def measure(self, scores: pa.Table, weights_RN: np.ndarray) -> np.ndarray:
        """The metric under each row of example weights, `(resamples,)` in float64."""


METRICS: Registry[TextMetric] = Registry("metrics", TextMetric, "langmill.scoring.metrics", "scoring.options.metrics")


def text_metrics(names: Sequence[str]) -> tuple[TextMetric, ...]:
    """The metrics of some names, in their order. Raises ConfigError where there is none, or one is named twice."""
    require(len(set(names)) == len(names), "scoring.options.metrics", names, "each name once")
    return tuple(METRICS.find(name)(name) for name in names)


class Mean(TextMetric):
    """The mean of a number that each example has, or has not: those without count neither way."""

    @abstractmethod
    def score(self, produced: str, document: Document) -> float | None:
        """The number of one example; None for one without."""

    def columns(self, produced: Sequence[str], documents: Sequence[Document]) -> dict[str, pa.Array]:
        """The number of each example; null for one without."""
        values = [self.score(text, document) for text, document in zip(produced, documents, strict=True)]
        return {f"{self.name}_score": pa.array(values, pa.float64())}

    def measure(self, scores: pa.Table, weights_RN: np.ndarray) -> np.ndarray:
        """The weighted mean; 0 where no example counts."""
        column = scores[f"{self.name}_score"]
        there_N = np.asarray(column.is_valid(), dtype=np.float64)
        values_N = np.asarray(column.fill_null(0.0), dtype=np.float64)
        total_R = weights_RN @ there_N
        return np.divide(weights_RN @ values_N, total_R, out=np.zeros(len(weights_RN)), where=total_R > 0)


class BestOfReferences(Mean):
    """The mean of each example's best score against its references."""

    @abstractmethod
    def against(self, produced: str, reference: str) -> float | None:
        """The score against one reference; None where that says nothing."""

    def score(self, produced: str, document: Document) -> float | None:
        """The best over all references; None where none says anything."""
        found = (self.against(produced, reference) for reference in references_of(document))
        return max((value for value in found if value is not None), default=None)
