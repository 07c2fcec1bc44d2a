"""One model to make: conf/recipe/."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langmill.config.moved import migrated_recipe
from langmill.config.sections.corpus import Corpus
from langmill.config.sections.evaluation import Evaluation
from langmill.config.sections.gate import Gate
from langmill.config.sections.tokenizer import Tokenizer
from langmill.config.sections.training import Training
from langmill.config.typed import settings


@settings
class TaskSection:
    """What is learned."""

    name: str
    """A file in src/langmill/tasks/."""
    options: dict[str, Any]
    """The task's own settings; the task types them."""


@settings
class ScoringSection:
    """How a model is judged, and how it writes."""

    options: dict[str, Any]
    """The settings of the task's scorer (src/langmill/scoring/), which types them."""


@settings
class ModelSection:
    """The network."""

    architecture: str
    """A file in src/langmill/models/."""
    options: dict[str, Any]
    """The architecture's own settings; the architecture types them."""


@settings
class Recipe:
    """One model to make."""

    name: str
    """The recipe's name; the file's name in conf/recipe/ and the registered model's."""
    description: str
    """One sentence on what the model is for."""
    corpus: Corpus
    tokenizer: Tokenizer
    task: TaskSection
    scoring: ScoringSection
    model: ModelSection
    training: Training
    evaluation: Evaluation
    gate: Gate

    @classmethod
    def migrated(cls, values: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        """Read options of before that stand among the task's; see `typed`."""
        return migrated_recipe(values)
