"""What judging is: per-example scores, metrics over them, simpler ways to compare with, and plots.

A scorer judges the models of one family of tasks. It is one file: an options dataclass, a `Scorer`, and
`SCORERS.register` over it; a task says by name which one judges its models. Nothing here decides a model's bytes, so
that a change reruns the stage `evaluate` alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
from torch import nn

from langmill.config.sections import Evaluation
from langmill.data.document import Document
from langmill.models.generation.config import GenerationConfig
from langmill.plugins import Registry
from langmill.tasks.base import Task
from langmill.tokenization.shards import Shard
from langmill.tokenization.tokenizer import Tokenizer

_MOST_VALUES = 2000  # a plot needs no more


@dataclass(frozen=True)
class Metric:
    """A number that says how good a model is."""

    name: str
    """Snake case, as in `bits_per_byte`."""
    title: str
    """As a person reads it."""
    higher_is_better: bool
    signature: str = ""
    """What a reader needs to get the same number elsewhere (sacreBLEU's signature)."""
    per_token: bool = False
    """Whether it counts tokens, so that it can't be compared between tokenizers."""
    per_byte: bool = False
    """Whether it says what a text costs by its bytes, so that it can't be compared with a model whose tokenizer loses
    some of the text: what is lost costs nothing."""
    of_scored_bytes: bool = False
    """Whether it is of the part of a text alone that the model can read, the score table's column `bytes`: two models
    compare on the texts of which that part is the same."""


class Strength(StrEnum):
    """What a baseline is good for."""

    trivial = "trivial"
    """Needs no learning worth the name (unigram, majority, copy); a first version must beat it."""
    strong = "strong"
    """What a person would try before a neural network."""
    base = "base"
    """What the model was fine-tuned from, as it came: what tuning must be worth."""


@dataclass(frozen=True)
class Baseline:
    """A simpler way to do the same, scored on the same examples."""

    name: str
    strength: Strength
    scores: pa.Table
    """As `Scorer.score` gives them; columns may be missing, and with them the metrics that need them: a translation
    memory knows no probabilities."""


@dataclass(frozen=True)
class TrainingData:
    """What baselines are fitted on."""

    shard: Shard
    """The training split's tokens."""
    documents: Callable[[], Iterable[Document]]
    """Reads the training documents that the task can use, in the shard's order."""
    truncated: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Of each split, how many sequences did not fit whole, by what was truncated."""


@dataclass(frozen=True)
class Plot:
    """Data of a plot, drawn by `langmill.evaluation.plots`."""

    name: str
    kind: str
    """`matrix` (confusion), `line` or `histogram`."""
    title: str
    x_label: str
    y_label: str
    columns: dict[str, list[Any]]
    """`matrix`: actual, predicted, count; `line`: x (texts stand evenly) and one column a line; `histogram`: value."""

    @classmethod
    def spread(cls, name: str, title: str, losses_N: np.ndarray, unit: str = "bits per byte") -> Plot:
        """A histogram of one loss a document; of very many documents, of their quantiles."""
        shown = np.sort(losses_N)
        if len(shown) > _MOST_VALUES:
            shown = np.quantile(shown, np.linspace(0, 1, _MOST_VALUES))
        return cls(name, "histogram", title, unit, "documents", {unit: shown.tolist()})


class Scorer(ABC):
    """One way of judging the models of a task, by the scorer's own typed options."""

    options_class: ClassVar[type[Any]]

    def __init__(self, task: Task, options: Any) -> None:
        self.task = task
        self.options = options

    @property
    def labels(self) -> tuple[str, ...]:
        """The task's."""
        return self.task.labels

    @property
    def plugins(self) -> list[tuple[str, str]]:
        """Entry points, as `(group, name)`, of what judges: another distribution's code is part of the protocol."""
        return [(SCORERS.group, self.task.scorer)]

    @property
    @abstractmethod
    def metrics(self) -> tuple[Metric, ...]:
        """Every metric, the one that decides first; a task with labels may have some for each label."""

    def metrics_of(self, scores: pa.Table) -> tuple[Metric, ...]:
        """`metrics` with the signatures that they have for these scores, where those depend on what was scored."""
        del scores
        return self.metrics

    def measured(self, scores: pa.Table, metric: str) -> pa.ChunkedArray | None:
        """Which examples a metric is of, `(N,)`; None where it is of all of them."""
        del scores, metric
        return None

    @property
    def generation_config(self) -> GenerationConfig | None:
        """How a judged model writes where the asker does not say; None leaves it to the model folder or the task."""
        return None

    @abstractmethod
    def score(
        self,
        network: nn.Module,
        tokenizer: Tokenizer,
        documents: Sequence[Document],
        evaluation: Evaluation,
        progress: Any = None,
    ) -> pa.Table:
        """One row an example, in the documents' order: `id` and what the metrics need.

        `progress`, if given, is called with the number of documents done since the last call; a
        `langmill.scoring.pace.Pace` is also told how many tokens were written.
        """

    def beside_base(self, scores: pa.Table, base: pa.Table) -> pa.Table:
        """The scores with what the metrics need of those of the base as it came; most need nothing."""
        del base
        return scores

    @abstractmethod
    def measure(self, scores: pa.Table, weights_RN: np.ndarray) -> dict[str, np.ndarray]:
        """Every metric under each row of example weights; those whose columns a baseline's table lacks are left out.

        Args:
            scores: N examples.
            weights_RN: How often each counts, `(resamples, examples)`; one row of ones gives the plain value.

        Returns:
            By metric name, `(resamples,)` in float64.
        """

    @abstractmethod
    def baselines(
        self,
        train: TrainingData,
        documents: Sequence[Document],
        tokenizer: Tokenizer,
        evaluation: Evaluation,
        *,
        max_length: int,
    ) -> list[Baseline]:
        """Simpler ways, fitted on the training split and scored on the documents; the trivial ones first.

        What the model is not scored on, for its context of `max_length` tokens, a baseline is not either.
        """

    @abstractmethod
    def plots(self, scores: pa.Table) -> list[Plot]:
        """Plots that say more than the metrics."""

    # Comparing models of other tasks and labels ----------------------------------------------------------------------

    def with_task(self, task: Task) -> Self:
        """The same judging of models of another task: a champion is judged by the challenger's settings."""
        return type(self)(task, self.options)

    def with_labels(self, labels: Sequence[str]) -> Self:
        """The same judging over other labels."""
        return self.with_task(self.task.with_labels(labels))

    def joined(self, scores: pa.Table, documents: Sequence[Document]) -> pa.Table:
        """Scores that were made in parts, now in the documents' order, as if all had been scored at once."""
        del documents
        return scores

    def relabelled(self, scores: pa.Table, labels: Sequence[str]) -> pa.Table:
        """What `score` gave over some of this scorer's labels, as its `measure` takes them."""
        del labels
        return scores


SCORERS: Registry[Scorer] = Registry("scorers", Scorer, "langmill.scoring", "scoring.scorer")


def build_scorer(task: Task, options: Mapping[str, Any], where: str) -> Scorer:
    """The scorer that a task names. Raises ConfigError where there is none, or the options are refused."""
    return SCORERS.find(task.scorer, where)(task, SCORERS.options(task.scorer, options, where))
