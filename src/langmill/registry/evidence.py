"""What a version is judged by: plain data that was gathered beforehand (`langmill.registry.gathering`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import pyarrow as pa

from langmill.config.sections import Evaluation
from langmill.errors import EvaluationError, LangmillError
from langmill.registry.versions import ModelVersion, Tag
from langmill.scoring.base import Scorer

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class Missing:
    """Evidence that can't be had, and why."""

    reason: str


@dataclass(frozen=True)
class Unscored(Missing):
    """The champion must be scored again under the version's protocol, and was not."""


@dataclass(frozen=True)
class Scored:
    """What the version was scored on."""

    documents: int
    groups: int
    group_by: str | None
    """The metadata field whose equal values make a group; None where each document is its own."""
    unseen_labels: Mapping[str, int]
    """The test documents of each label that training never saw; they were left out."""
    trivial_baseline: str
    """The baseline that a first version must beat; "" where there is a champion to compare with."""


@dataclass(frozen=True)
class Pair:
    """The scores of the version and of what it is compared with, on the same documents, in one scorer's labels."""

    scorer: Scorer
    challenger: pa.Table
    other: pa.Table
    common: pa.BooleanArray | None = None
    """Which documents both can judge, `(N,)`; None where both can judge the same ones."""
    difference: str = ""
    """In what they differ, for a person."""


@dataclass(frozen=True)
class Evidence:
    """All that the gate's rules may look at."""

    version: ModelVersion
    """The version, with its tags: what validation said, its size and latency, the metric that decides."""
    champion: ModelVersion | None
    metric: str
    """The metric that decides."""
    evaluation: Evaluation
    """Resamples, seed and confidence."""
    scored: Scored | Missing
    pair: Pair | Missing
    comparison_key: str = ""
    """Digest of all that the verdict follows from; "" where some of it can't be had."""
    doubt: str = ""
    """Why it is not sure who the champion is; "" where it is."""
    base: Pair | Missing | None = None
    """The scores of the version and of what it was fine-tuned from, as that came; None where that has none."""
    base_name: str = ""
    """What it was fine-tuned from, where that has scores."""

    @property
    def against(self) -> str:
        """What the version is compared with: `version 2`, or `the baseline unigram`."""
        if self.doubt:
            return "the champion"
        if self.champion is not None:
            return f"version {self.champion.version}"
        if isinstance(self.scored, Missing):
            return "the trivial baseline"
        return f"the baseline {self.scored.trivial_baseline}"

    @property
    def weights(self) -> tuple[str, str]:
        """SHA-256 of both models' weights; "" where there is no champion or it was not noted."""
        theirs = self.champion.tags.get(Tag.weights, "") if self.champion is not None else ""
        return self.version.tags.get(Tag.weights, ""), theirs

    @property
    def unseen_labels(self) -> dict[str, int]:
        """The test documents of each label that neither model knows: nothing was judged on those."""
        if isinstance(self.scored, Missing):
            return {}
        known = self.pair.scorer.labels if isinstance(self.pair, Pair) else ()
        return {label: count for label, count in self.scored.unseen_labels.items() if label not in known}


def available(found: _Found | Missing) -> _Found:
    """What was gathered; EvaluationError where it could not be had."""
    if isinstance(found, Missing):
        raise EvaluationError(found.reason, "missing")
    return found


def reason_of(error: Exception) -> str:
    """Say in a sentence what an error says; one that is not Langmill's own with its kind."""
    return str(error) if isinstance(error, LangmillError) else f"{type(error).__name__}: {str(error).rstrip('.')}."
