"""A version of a registered model, and the names of its aliases, tags and states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from langmill.errors import RegistryError
from langmill.evaluation.estimates import Estimate, Metrics
from langmill.registry.facts import unpacked

CHAMPION = "champion"
CHALLENGER = "challenger"
PREVIOUS = "previous"


class Tag:
    """The names of the tags on a version; most of them lie in one of MLflow's (`langmill.registry.facts`)."""

    provenance = "langmill.provenance"
    weights = "langmill.weights_sha256"
    generation = "langmill.generation_config_sha256"
    recipe = "langmill.recipe"
    task = "langmill.task"
    test_set = "langmill.test_set"
    protocol = "langmill.protocol"
    trivial = "langmill.trivial_baseline"
    strong = "langmill.strong_baseline"
    base = "langmill.base_as_it_came"
    """What the model was fine-tuned from, and what that reached before."""
    metric = "langmill.metric"
    value = "langmill.value"
    low = "langmill.value_low"
    high = "langmill.value_high"
    judged = "langmill.judged_documents"
    """What part of the test documents the metric is of; without it, all of them."""
    better = "langmill.better"
    """Which values of the metric are the better ones: `higher` or `lower`; older versions do not say."""
    parameters = "langmill.parameters"
    documents = "langmill.training_documents"
    data_bytes = "langmill.training_bytes"
    size = "langmill.size_bytes"
    state = "langmill.state"
    reason = "langmill.reason"
    latency = "langmill.latency_ms"
    verdict = "langmill.verdict"
    rolled_back = "langmill.rolled_back"


class ModelTag:
    """The names of the tags on a registered model."""

    champion = "langmill.champion"
    """The version that Langmill made champion last, from whichever workspace."""
    ledger = "langmill.ledger"
    """Begins the name of the tag with a ledger's witness; a server's has the workspace in its name."""


class State:
    """What a version's validation said."""

    registered = "registered"
    """Not validated yet, or validation could not tell; a reason stands beside it then."""
    validated = "validated"
    rejected = "rejected"


@dataclass(frozen=True)
class ModelVersion:
    """One version of a registered model."""

    name: str
    version: int
    aliases: tuple[str, ...]
    provenance: str
    """The digest of what the model was made from; "" for a version that Langmill did not register."""
    run_id: str | None
    """Its run in MLflow."""
    tags: Mapping[str, str]
    created: datetime
    description: str = ""
    """What it is for, as its recipe said when it was registered."""

    @property
    def state(self) -> str:
        """One of `State`."""
        return self.tags.get(Tag.state, State.registered)

    @property
    def decides(self) -> tuple[str, Estimate] | None:
        """The metric that decides and its estimate; None for a version that Langmill did not register."""
        tags = self.tags
        if Tag.metric not in tags or Tag.value not in tags:
            return None
        value, low, high = (float(tags.get(tag) or tags[Tag.value]) for tag in (Tag.value, Tag.low, Tag.high))
        return tags[Tag.metric], Estimate(value, low, high)

    @property
    def title(self) -> str:
        """As a person calls it: `reviews-lm version 3`."""
        return f"{self.name} version {self.version}"


def metrics_tags(metrics: Metrics) -> dict[str, str]:
    """The tags that say what a version is worth: the metric that decides, and the baselines hardest to beat in it."""
    decides = metrics.decides
    tags = {
        Tag.metric: metrics.primary,
        Tag.value: repr(decides.value),
        Tag.low: repr(decides.low),
        Tag.high: repr(decides.high),
    }
    if judged := metrics.share_of(metrics.primary):
        tags[Tag.judged] = judged
    if metrics.better:
        tags[Tag.better] = metrics.better
    for tag, strength in ((Tag.trivial, "trivial"), (Tag.strong, "strong")):
        found = metrics.hardest(strength)
        if found is not None:
            tags[tag] = f"{found.name} {found.values[metrics.primary]!r}"
    if (zero_shot := metrics.zero_shot) is not None:
        tags[Tag.base] = f"{metrics.base} {zero_shot.values[metrics.primary]!r}"
    return tags


def summary_of(description: str | None) -> str:
    """What a version is for, of the card that is its description in MLflow: the first paragraph."""
    return (description or "").split("\n\n", 1)[0].strip()


def version_of(item: Any, aliases: Mapping[str, int]) -> ModelVersion:
    """A version as MLflow has it, with those of its model's aliases that point to it."""
    number, tags = int(item.version), unpacked(item.tags)
    return ModelVersion(
        str(item.name),
        number,
        tuple(sorted(alias for alias, version in aliases.items() if version == number)),
        tags.get(Tag.provenance, ""),
        item.run_id or None,
        tags,
        time_of(item.creation_timestamp),
        summary_of(item.description),
    )


def time_of(milliseconds: int) -> datetime:
    """The moment that MLflow writes in milliseconds."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def checked_name(name: str) -> str:
    """A model's name; RegistryError where it has a sign that a filter of MLflow would take for something else."""
    if not name or any(character in "'\"/:`%" for character in name):
        sentence = f"{name!r} can't be the name of a registered model; use letters, digits, - and _."
        raise RegistryError(sentence, "impossible")
    return name
