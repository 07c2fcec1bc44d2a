"""What the champions are worth: the figures of each, from the registry alone, for a page and for comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langmill.errors import RegistryError
from langmill.evaluation.evaluate import METRICS_NAME
from langmill.evaluation.report import number
from langmill.evaluation.significance import counted
from langmill.files import read_json, temporary_folder
from langmill.registry.store import Registry
from langmill.registry.verdict import Verdict
from langmill.registry.versions import ModelVersion, Tag
from langmill.tracking.runs import last_metric

MINUTES = "training_minutes"
"""The run's figure of time spent on training steps."""
_UNKNOWN = "-"


@dataclass(frozen=True)
class Figure:
    """A value and its interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{number(self.value)} ({number(self.low)} to {number(self.high)})"


@dataclass(frozen=True)
class Rival:
    """A baseline that a champion was measured against, on the same test documents."""

    name: str
    strength: str
    """`trivial` or `serious`."""
    value: float
    gain: Figure
    """How much better the champion is, in the metric's unit; below zero it is worse."""

    @property
    def sentence(self) -> str:
        """Whether the champion beats it, in words."""
        if self.gain.low > 0:
            return f"beats it by {self.gain}"
        if self.gain.high < 0:
            return f"**does not beat it**: worse by {number(-self.gain.value)}"
        return f"no clear difference: {self.gain}"


@dataclass(frozen=True)
class Result:
    """One champion's line."""

    name: str
    version: int
    task: str
    description: str
    metric: str
    """The metric that decides."""
    figures: Mapping[str, Figure]
    """Every metric, by its name."""
    examples: int
    """Test documents."""
    test_set: str
    """What identifies them."""
    documents: int | None
    """Training documents."""
    megabytes: float | None
    """UTF-8 text of the training documents."""
    parameters: int
    minutes: float | None
    """Time spent on training steps."""
    rivals: tuple[Rival, ...]
    """The baselines that have the deciding metric."""
    serious: Mapping[str, Mapping[str, float]]
    """What the serious baselines reach, by metric and baseline; one that writes no text has no figures of text."""
    groups: int | None = None
    """Groups of test documents, which the intervals draw; None for a champion that is older than them."""

    @property
    def figure(self) -> Figure:
        """The figure that decides."""
        return self.figures[self.metric]

    def strongest(self, strength: str) -> Rival | None:
        """The baseline of a strength that is hardest to beat in the deciding metric; None if there is none."""
        found = [rival for rival in self.rivals if rival.strength == strength]
        return min(found, key=lambda rival: rival.gain.value, default=None)


def read_result(registry: Registry, name: str) -> Result:
    """The champion of a recipe and what it is worth.

    Raises:
        RegistryError: The recipe has no champion.
        TrackingError: The registry can't be reached.
    """
    champion = registry.champion(name)
    if champion is None:
        raise RegistryError(f"{name} has no champion; make one with `langmill run {name}`.")
    with temporary_folder() as temporary:
        folder = registry.download_evaluation(name, champion.version, temporary / "evaluation")
        metrics = read_json(folder / METRICS_NAME)
    return _result(registry, champion, metrics)


def read_results(registry: Registry, names: Iterable[str] | None = None) -> list[Result]:
    """The champions of some recipes, or of all that have one, by task and name. Raises as `read_result`."""
    if names is None:
        names = [name for name in registry.names() if registry.champion(name) is not None]
    return sorted((read_result(registry, name) for name in names), key=lambda result: (result.task, result.name))


def _result(registry: Registry, champion: ModelVersion, metrics: Mapping[str, Any]) -> Result:
    tags, decides = champion.tags, str(metrics["primary"])
    rivals = tuple(
        Rival(name, facts["strength"], facts[decides]["value"], _figure(facts["improvement"]))
        for name, facts in metrics["baselines"].items()
        if decides in facts
    )
    size = tags.get(Tag.data_bytes)
    return Result(
        champion.name,
        champion.version,
        tags.get(Tag.task, _UNKNOWN),
        registry.description(champion),
        decides,
        {name: _figure(value) for name, value in metrics.items() if isinstance(value, dict) and "low" in value},
        int(metrics["examples"]),
        str(metrics["test_set"]),
        int(tags[Tag.documents]) if Tag.documents in tags else None,
        int(size) / 1e6 if size else None,
        int(tags.get(Tag.parameters, 0)),
        last_metric(registry.tracking_uri, champion.run_id, MINUTES) if champion.run_id else None,
        rivals,
        _serious(metrics["baselines"]),
        metrics.get("groups"),
    )


def _serious(baselines: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for name, facts in baselines.items():
        if facts["strength"] == "serious":
            for metric, each in facts.items():
                if isinstance(each, dict) and metric != "improvement":
                    found.setdefault(metric, {})[name] = each["value"]
    return found


def _figure(values: Mapping[str, float]) -> Figure:
    return Figure(values["value"], values["low"], values["high"])


def results_page(results: Sequence[Result], refused: Sequence[Refused] = ()) -> str:
    """The page of all results, in Markdown, and of what the gate kept out."""
    lines = [
        "# Results",
        "",
        "Written by `langmill report` from the registry; an edit here is lost. Every figure is of the test split, with",
        "its bootstrap interval over the documents, or the groups of them that the split keeps together. The trivial",
        "baseline is what a first version must beat; the serious one is what a person would try before a neural",
        "network, measured on the same documents in the same run. Minutes are those spent on training steps.",
    ]
    for task in sorted({result.task for result in results}):
        chosen = [result for result in results if result.task == task]
        lines += ["", f"## {task.replace('_', ' ').capitalize()}", "", *_table(chosen), ""]
        lines += [line for result in chosen for line in _sentences(result)]
    if refused:
        lines += ["", "## Refused by the gate", ""]
        lines += [f"- `{each.name}` (version {each.version}): {each.reason}" for each in refused]
    return "\n".join(lines) + "\n"


def _table(results: Sequence[Result]) -> list[str]:
    lines = [
        "| recipe | documents | MB of text | parameters | minutes | metric | value (interval) | trivial | serious |",
        "|---|---:|---:|---:|---:|---|---|---|---|",
    ]
    for result in results:
        trivial, serious = result.strongest("trivial"), result.strongest("serious")
        cells = [
            f"`{result.name}`",
            _UNKNOWN if result.documents is None else f"{result.documents:,}",
            _UNKNOWN if result.megabytes is None else f"{result.megabytes:.1f}",
            f"{result.parameters:,}",
            _UNKNOWN if result.minutes is None else f"{result.minutes:.1f}",
            result.metric,
            str(result.figure),
            *(_UNKNOWN if each is None else f"{each.name} {number(each.value)}" for each in (trivial, serious)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _sentences(result: Result) -> list[str]:
    serious = result.strongest("serious")
    against = f" Against {serious.name}: {serious.sentence}." if serious is not None else ""
    others = ", ".join(
        " ".join([name, number(figure.value), *_beside(result.serious.get(name, {}))])
        for name, figure in result.figures.items()
        if name != result.metric
    )
    more = f" Also: {others}." if others and len(result.figures) <= 12 else ""
    judged = counted(result.examples, result.groups or result.examples)
    return [f"- `{result.name}` (version {result.version}, {judged}): {result.description}{against}{more}"]


def _beside(serious: Mapping[str, float]) -> list[str]:
    told = ", ".join(f"{name} {number(value)}" for name, value in serious.items())
    return [f"({told})"] if told else []


@dataclass(frozen=True)
class Refused:
    """A recipe without a champion: the gate let no version through."""

    name: str
    version: int
    reason: str


def read_refused(registry: Registry) -> list[Refused]:
    """The recipes that have versions and no champion, by name, with what was said of the newest version.

    Raises:
        TrackingError: The registry can't be reached.
    """
    found = []
    for name in sorted(registry.names()):
        versions = registry.versions(name)
        if versions and registry.champion(name) is None:
            newest = max(versions, key=lambda version: version.version)
            verdict = Verdict.of(newest)
            reason = verdict.sentence if verdict is not None else newest.tags.get(Tag.reason, "It was not judged.")
            found.append(Refused(name, newest.version, reason))
    return found
