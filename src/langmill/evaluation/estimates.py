"""What is known of a metric: an estimate with its interval, a comparison of two, and the content of `metrics.json`.

Everything that shows or stores such a number takes it from here. Nothing here computes one: reading takes no torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langmill.files import read_json

METRICS_NAME = "metrics.json"
BASE = "base"
"""The baseline that is the model which the judged one was fine-tuned from, as it came."""
_OLD_STRENGTHS = {"serious": "strong"}
"""In evaluations of before."""
_EQUAL = 1e-9  # p-values closer than this, relative to their size, are the same one, summed in another order


@dataclass(frozen=True)
class Estimate:
    """A metric's value and the interval that its resamples lie in."""

    value: float
    low: float
    high: float

    @classmethod
    def from_json(cls, values: Mapping[str, float]) -> Estimate:
        """Read what `to_json` gave."""
        return cls(values["value"], values["low"], values["high"])

    def to_json(self) -> dict[str, float]:
        """Plain values, by the names of the fields."""
        return {"value": rounded(self.value), "low": rounded(self.low), "high": rounded(self.high)}

    @property
    def short(self) -> str:
        """The value and its interval in few signs, for a table of versions."""
        interval = f" [{self.low:.4g}, {self.high:.4g}]" if self.low < self.high else ""  # old tags lack it
        return f"{self.value:.4g}{interval}"

    @property
    def interval(self) -> str:
        """The interval for people."""
        return f"{number(self.low)} to {number(self.high)}"

    def __str__(self) -> str:
        return f"{number(self.value)} ({self.interval})"


@dataclass(frozen=True)
class Comparison:
    """How much better one model is than another on the same examples."""

    metric: str
    challenger: float
    champion: float
    improvement: Estimate
    """Challenger against champion in the metric's unit; above zero is better, whichever way the metric points."""
    p_value: float
    """How often two models that are alike would differ as much in the challenger's favour, one-sided."""
    examples: int
    groups: int
    """Groups that the examples are in: what is drawn."""
    confidence: float
    """Mass of the interval."""
    left_out: int = 0
    """Examples that were not compared on, because the two can read other parts of them."""

    @property
    def level(self) -> float:
        """What `p_value` may be at the most for the difference not to be luck: the mass beyond the interval's end."""
        return (1 - self.confidence) / 2

    def beats(self, min_effect: float) -> bool:
        """Whether the whole interval lies beyond an effect, and the difference is not luck."""
        return self.improvement.low > min_effect and self.p_value <= self.level * (1 + _EQUAL)

    @property
    def counted(self) -> str:
        """What was compared on, for a sentence: `323 test documents in 12 groups`."""
        some = f" ({self.left_out:,} left out, since the two can read other parts of them)" if self.left_out else ""
        return counted(self.examples, self.groups) + some

    def to_json(self) -> dict[str, float]:
        """The improvement and how sure it is, as plain values."""
        return {**self.improvement.to_json(), "p_value": rounded(self.p_value)}

    def in_words(self, title: str, against: str) -> str:
        """The comparison with `against` as a clause; `title` is the metric's."""
        gain = self.improvement
        direction = "worse" if gain.value < 0 else "better"
        return (
            f"{title} is {self.challenger:.4g} against {self.champion:.4g} of {against}: {direction} by "
            f"{abs(gain.value):.4g}, {self.confidence:.0%} interval of the gain [{gain.low:.4g}, {gain.high:.4g}] "
            f"on {self.counted}"
        )

    @property
    def verdict(self) -> str:
        """How much better the challenger is, and whether that can be luck, in words."""
        gain = self.improvement
        if self.beats(0.0):
            return f"clearly better, by {gain}"
        if gain.high < 0:
            return f"clearly worse, by {Estimate(-gain.value, -gain.high, -gain.low)}"
        way = "better" if gain.value >= 0 else "worse"
        return f"{way} by {number(abs(gain.value))}, which may be luck: the improvement's interval is {gain.interval}"


@dataclass(frozen=True)
class BaselineMetrics:
    """What a baseline reaches on the same test documents."""

    name: str
    strength: str
    """As in `langmill.scoring.base.Strength`."""
    values: Mapping[str, float]
    """By metric; one that writes no text has no metrics of text."""
    improvement: Estimate | None
    """How much better the model is in the metric that decides, below zero worse; None where the baseline lacks it."""

    @property
    def sentence(self) -> str:
        """Whether the model beats it, in words."""
        gain = self.improvement
        if gain is None:
            return "it has no such metric"
        if gain.low > 0:
            return f"beats it by {gain}"
        return (
            f"**does not beat it**: worse by {number(-gain.value)}" if gain.high < 0 else f"no clear difference: {gain}"
        )


@dataclass(frozen=True)
class Metrics:
    """The content of a `metrics.json`."""

    primary: str
    """The metric that decides."""
    estimates: Mapping[str, Estimate]
    """By metric."""
    baselines: tuple[BaselineMetrics, ...]
    examples: int
    """Test documents."""
    groups: int
    """Groups of them, which the intervals draw."""
    test_set: str
    """Digest of the test documents."""
    usable: int = 0
    """Test documents that could be judged: more than `examples` where `evaluation.max_documents` drew some of them."""
    base: str | None = None
    """What the model was fine-tuned from: a recipe or a pretrained model; None for one from scratch."""
    examples_of: Mapping[str, int] = field(default_factory=dict)
    """The documents of each metric that is of fewer than `examples`: answers that were not all written."""
    higher_is_better: bool | None = None
    """Which way the metric that decides points; None in an older folder, which does not say."""

    @classmethod
    def read(cls, folder: Path) -> Metrics:
        """Read an evaluation folder's metrics. Raises as `read_json`."""
        facts = read_json(folder / METRICS_NAME)
        baselines = tuple(
            BaselineMetrics(
                name,
                _OLD_STRENGTHS.get(values["strength"], values["strength"]),
                {metric: each["value"] for metric, each in _numbers(values)},
                Estimate.from_json(values["improvement"]) if "improvement" in values else None,
            )
            for name, values in facts["baselines"].items()
        )
        estimates = {name: Estimate.from_json(values) for name, values in _numbers(facts)}
        examples = int(facts["examples"])
        groups = int(facts.get("groups", examples))  # older ones drew documents
        usable = int(facts.get("usable", examples))  # older ones judged all of them
        fewer = {name: int(values["examples"]) for name, values in _numbers(facts) if "examples" in values}
        base = (facts.get("base") or {}).get("recipe")
        return cls(
            facts["primary"], estimates, baselines, examples, groups, facts["test_set"], usable, base, fewer,
            facts.get("higher_is_better"),
        )  # fmt: skip

    @property
    def counted(self) -> str:
        """What the metrics are of, in words."""
        return counted(self.examples, self.groups, self.usable)

    def share_of(self, metric: str) -> str:
        """What part of the test documents a metric is of, as `200 of 1,178`; "" where it is of all of them."""
        examples = self.examples_of.get(metric, self.examples)
        return "" if examples >= self.usable else f"{examples:,} of {self.usable:,}"

    @property
    def better(self) -> str:
        """Which values of the metric that decides are the better ones: `higher` or `lower`, "" where nobody said."""
        return "" if self.higher_is_better is None else "higher" if self.higher_is_better else "lower"

    @property
    def decides(self) -> Estimate:
        """The estimate of the metric that decides."""
        return self.estimates[self.primary]

    @property
    def zero_shot_values(self) -> Mapping[str, float]:
        """By metric, what the base reached before tuning; empty where there is none, or it could not do the same."""
        return next((each.values for each in self.baselines if each.name == BASE), {})

    @property
    def zero_shot(self) -> BaselineMetrics | None:
        """The same in the metric that decides; None where it has none."""
        found = (each for each in self.baselines if each.name == BASE and self.primary in each.values)
        return next(found, None)

    def hardest(self, strength: str) -> BaselineMetrics | None:
        """The baseline of a strength that is hardest to beat in the metric that decides; None if there is none."""
        found = [each for each in self.baselines if each.strength == strength and self.primary in each.values]
        return min(
            found, key=lambda each: (each.improvement.value if each.improvement else 0.0, each.name), default=None
        )


def _numbers(facts: Mapping[str, Any]) -> list[tuple[str, Mapping[str, float]]]:
    """The metrics among what is said of a model or a baseline."""
    return [
        (name, each)
        for name, each in facts.items()
        if name != "improvement" and isinstance(each, Mapping) and isinstance(each.get("value"), int | float)
    ]


def rounded(value: float) -> float:
    """Ten significant digits: the last ones of a sum depend on the order in which a library adds."""
    return float(f"{value:.10g}")


def number(value: float) -> str:
    """A number for people: four significant digits, no exponent."""
    if value == 0:
        return "0"
    decimals = 3 - math.floor(math.log10(abs(value)))
    return f"{value:,.{min(max(decimals, 0), 6)}f}"


def counted(examples: int, groups: int, usable: int = 0) -> str:
    """Test documents and their groups in words; the groups only where they are not the documents themselves.

    `usable` is of how many documents these were drawn.
    """
    drawn = usable > examples
    documents = f"{examples:,}{f' of {usable:,}' * drawn} test document" + ("" if examples == 1 and not drawn else "s")
    documents += ", drawn by seed," * drawn
    if groups == examples:
        return documents.removesuffix(",")
    return f"{documents} in {groups:,} group" + ("" if groups == 1 else "s")
