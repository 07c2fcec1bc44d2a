"""What the champions are worth: the metrics of each, from the registry alone, for a page and for comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from langmill.errors import RegistryError
from langmill.evaluation.estimates import Metrics, counted, number
from langmill.files import temporary_folder
from langmill.registry.store import ModelRegistry
from langmill.registry.verdict import Verdict
from langmill.registry.versions import Tag
from langmill.tracking.runs import last_metric

MINUTES = "training_minutes"
"""The run's metric of the time spent on training steps."""
_UNKNOWN = "-"


@dataclass(frozen=True)
class Result:
    """One champion's line."""

    name: str
    version: int
    task: str
    description: str
    metrics: Metrics
    documents: int | None
    """Training documents."""
    megabytes: float | None
    """UTF-8 text of the training documents."""
    parameters: int
    minutes: float | None
    """Time spent on training steps."""


def read_result(registry: ModelRegistry, name: str) -> Result:
    """The champion of a recipe and what it is worth; RegistryError where it has none."""
    champion = registry.champion(name)
    if champion is None:
        raise RegistryError(f"{name} has no champion; make one with `langmill run {name}`.", "missing")
    with temporary_folder() as temporary:
        folder = registry.download_evaluation(name, champion.version, temporary / "evaluation")
        metrics = Metrics.read(folder)
    tags = champion.tags
    return Result(
        champion.name,
        champion.version,
        tags.get(Tag.task, _UNKNOWN),
        champion.description,
        metrics,
        int(tags[Tag.documents]) if Tag.documents in tags else None,
        int(tags[Tag.data_bytes]) / 1e6 if Tag.data_bytes in tags else None,
        int(tags.get(Tag.parameters, 0)),
        last_metric(registry.tracking_uri, champion.run_id, MINUTES) if champion.run_id else None,
    )


def read_results(registry: ModelRegistry, names: Iterable[str] | None = None) -> list[Result]:
    """The champions of some recipes, or of all that have one, by task and name. Raises as `read_result`."""
    if names is None:
        names = [name for name in registry.names() if registry.champion(name) is not None]
    return sorted((read_result(registry, name) for name in names), key=lambda result: (result.task, result.name))


def results_page(results: Sequence[Result], refused: Sequence[Refused] = ()) -> str:
    """The page of all results, in Markdown, and of what the gate kept out."""
    lines = [
        "# Results",
        "",
        "Written by `langmill report` from the registry; an edit here is lost. Every metric is of the test split, with",
        "its bootstrap interval over the documents, or the groups of them that the split keeps together. The trivial",
        "baseline is what a first version must beat; the strong one is what a person would try before a neural",
        "network, measured on the same documents in the same run. Minutes are those spent on training steps.",
    ]
    for task in sorted({result.task for result in results}):
        chosen = [result for result in results if result.task == task]
        lines += ["", f"## {task.replace('_', ' ').capitalize()}", "", *_table(chosen), "", *map(_sentence, chosen)]
    if refused:
        lines += ["", "## Refused by the gate", ""]
        lines += [f"- `{each.name}` (version {each.version}): {each.reason}" for each in refused]
    return "\n".join(lines) + "\n"


def _table(results: Sequence[Result]) -> list[str]:
    lines = [
        "| recipe | documents | MB of text | parameters | minutes | metric | value (interval) | trivial | strong |",
        "|---|---:|---:|---:|---:|---|---|---|---|",
    ]
    for result in results:
        metrics = result.metrics
        baselines = (metrics.hardest(strength) for strength in ("trivial", "strong"))
        cells = [
            f"`{result.name}`",
            _or_unknown(result.documents, ","),
            _or_unknown(result.megabytes, ".1f"),
            f"{result.parameters:,}",
            _or_unknown(result.minutes, ".1f"),
            metrics.primary,
            str(metrics.decides),
            *(f"{each.name} {number(each.values[metrics.primary])}" if each else _UNKNOWN for each in baselines),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _or_unknown(value: float | None, form: str) -> str:
    return _UNKNOWN if value is None else format(value, form)


def _sentence(result: Result) -> str:
    metrics = result.metrics
    strong = metrics.hardest("strong")
    against = f" Against {strong.name}: {strong.sentence}." if strong is not None else ""
    others = ", ".join(
        " ".join([name, number(estimate.value), *_beside(metrics, name)])
        for name, estimate in metrics.estimates.items()
        if name != metrics.primary
    )
    more = f" Also: {others}." if others and len(metrics.estimates) <= 12 else ""
    judged = counted(metrics.examples, metrics.groups)
    return f"- `{result.name}` (version {result.version}, {judged}): {result.description}{against}{more}"


def _beside(metrics: Metrics, name: str) -> list[str]:
    """What the strong baselines reach in a metric."""
    reached = [
        f"{each.name} {number(each.values[name])}"
        for each in metrics.baselines
        if each.strength == "strong" and name in each.values
    ]
    return [f"({', '.join(reached)})"] if reached else []


@dataclass(frozen=True)
class Refused:
    """A recipe without a champion: the gate let no version through."""

    name: str
    version: int
    reason: str


def read_refused(registry: ModelRegistry) -> list[Refused]:
    """The recipes that have versions and no champion, by name, with what was said of the newest version."""
    found = []
    for name in registry.names():
        versions = registry.versions(name)
        if versions and registry.champion(name) is None:
            verdict = Verdict.of(versions[-1])
            reason = verdict.sentence if verdict else versions[-1].tags.get(Tag.reason, "It was not judged.")
            found.append(Refused(name, versions[-1].version, reason))
    return found
