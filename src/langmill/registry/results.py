"""What the champions are worth: the metrics of each, from the registry alone, for a page and for comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from langmill.errors import RegistryError
from langmill.evaluation.estimates import Metrics, number
from langmill.files import temporary_folder
from langmill.registry.result_rows import REFUSED, Row, read_rows
from langmill.registry.store import ModelRegistry
from langmill.registry.verdict import Verdict
from langmill.registry.versions import Tag
from langmill.tracking.runs import last_metric

MINUTES = "training_minutes"
"""The run's metric of the time spent on training steps."""
MEMORY = "memory_rss_mb"
"""The run's metric of the training's memory."""
_UNKNOWN = "-"
_TABLE_HEAD = (
    "| recipe | documents | MB of text | parameters | minutes | metric | value (interval) | trivial | strong "
    "| MB of memory | base as it came |",
    "|---|---:|---:|---:|---:|---|---|---|---|---:|---|",
)


@dataclass(frozen=True)
class Result:
    """One champion's line."""

    name: str
    version: int
    registered: date
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
    memory: float | None
    """Memory of the training's first process at its end, in MB of 2^20 bytes."""


def read_result(registry: ModelRegistry, name: str) -> Result:
    """The champion of a recipe and what it is worth; RegistryError where it has none."""
    champion = registry.champion(name)
    if champion is None:
        raise RegistryError(f"{name} has no champion; make one with `langmill run {name}`.", "missing")
    with temporary_folder() as temporary:
        folder = registry.download_evaluation(name, champion.version, temporary / "evaluation")
        metrics = Metrics.read(folder)
    tags, run_id = champion.tags, champion.run_id
    spent = [last_metric(registry.tracking_uri, run_id, each) if run_id else None for each in (MINUTES, MEMORY)]
    return Result(
        champion.name,
        champion.version,
        champion.created.date(),
        tags.get(Tag.task, _UNKNOWN),
        champion.description,
        metrics,
        int(tags[Tag.documents]) if Tag.documents in tags else None,
        int(tags[Tag.data_bytes]) / 1e6 if Tag.data_bytes in tags else None,
        int(tags.get(Tag.parameters, 0)),
        *spent,
    )


def read_results(registry: ModelRegistry, names: Iterable[str] | None = None) -> list[Result]:
    """The champions of some recipes, or of all that have one, by task and name. Raises as `read_result`."""
    if names is None:
        names = [name for name in registry.names() if registry.champion(name) is not None]
    return sorted((read_result(registry, name) for name in names), key=lambda result: (result.task, result.name))


def results_page(results: Sequence[Result], refused: Sequence[Refused] = (), former: str = "") -> str:
    """The page of all results, in Markdown, and of what the gate kept out.

    Args:
        results: The champions.
        refused: The recipes without one.
        former: An earlier page; rows of models that are among neither stay.
    """
    rows = [*map(_row, results), *map(_refused_row, refused)]
    known = {row.name for row in rows}
    kept = [row for row in read_rows(former) if row.name not in known]
    lines = [
        "# Results",
        "",
        "Written by `langmill report` from the registry; an edit is lost, but the rows of models that the registry",
        "does not have stay until someone takes them out. Every metric is of the test split, with its bootstrap",
        "interval over the documents, or the groups of them that the split keeps together. The trivial baseline is",
        "what a first version must beat; the strong one is what a person would try before a neural network,",
        "measured on the same documents in the same run. The base is what a model was fine-tuned from, judged as it",
        "came; a dash is for models from scratch and for those whose head is new, and for what an earlier page did not",
        "say of a row that was kept. Minutes are those spent on training steps; memory is that of the training's",
        "process at its end. A day is that of the version's registration.",
    ]
    if kept:
        named = ", ".join(f"`{row.name}` ({row.registered or 'day not noted'})" for row in kept)
        lines += ["", f"Kept from an earlier page, for this registry does not have them: {named}."]
    rows = sorted([*rows, *kept], key=lambda row: row.name)
    for heading in sorted({row.heading for row in rows}, key=lambda heading: (heading == REFUSED, heading)):
        chosen = [row for row in rows if row.heading == heading]
        table = [] if heading == REFUSED else [*_TABLE_HEAD, *map(_in_whole_table, chosen), ""]
        lines += ["", f"## {heading}", "", *table, *(row.sentence for row in chosen)]
    return "\n".join(lines) + "\n"


def _row(result: Result) -> Row:
    metrics = result.metrics
    baselines = (metrics.hardest(strength) for strength in ("trivial", "strong"))
    cells = [
        f"`{result.name}`",
        _UNKNOWN if result.documents is None else f"{result.documents:,}",
        _UNKNOWN if result.megabytes is None else f"{result.megabytes:.1f}",
        f"{result.parameters:,}",
        _UNKNOWN if result.minutes is None else f"{result.minutes:.1f}",
        metrics.primary,
        str(metrics.decides) + (f" on {share}" if (share := metrics.share_of(metrics.primary)) else ""),
        *(_UNKNOWN if each is None else f"{each.name} {number(each.values[metrics.primary])}" for each in baselines),
        _UNKNOWN if result.memory is None else f"{result.memory:,.0f}",  # from here on earlier pages have nothing
        _UNKNOWN
        if metrics.zero_shot is None
        else f"{metrics.base} {number(metrics.zero_shot.values[metrics.primary])}",
    ]
    heading = result.task.replace("_", " ").capitalize()
    return Row(heading, result.name, str(result.registered), f"| {' | '.join(cells)} |", _sentence(result))


def _in_whole_table(row: Row) -> str:
    """A row's line with all columns of today; columns are only ever added at the end."""
    missing = _TABLE_HEAD[1].count("|") - row.in_table.count("|")
    return row.in_table + f" {_UNKNOWN} |" * missing


def _refused_row(refused: Refused) -> Row:
    told = f"- `{refused.name}` (version {refused.version} of {refused.registered}): {_one_line(refused.reason)}"
    return Row(REFUSED, refused.name, str(refused.registered), "", told)


def _one_line(text: str) -> str:
    """A text that `read_rows` finds whole."""
    return " ".join(text.split())


def _sentence(result: Result) -> str:
    metrics = result.metrics
    strong = metrics.hardest("strong")
    against = f" Against {strong.name}: {strong.sentence}." if strong is not None else ""
    if (zero_shot := metrics.zero_shot) is not None:
        against += f" Against {metrics.base} as it came: {zero_shot.sentence}."
    others = ", ".join(
        " ".join([name, number(estimate.value), *_on(metrics, name), *_beside(metrics, name)])
        for name, estimate in metrics.estimates.items()
        if name != metrics.primary
    )
    more = f" Also: {others}." if others and len(metrics.estimates) <= 12 else ""
    version = f"version {result.version} of {result.registered}, {metrics.counted}"
    return f"- `{result.name}` ({version}): {_one_line(result.description)}{against}{more}"


def _on(metrics: Metrics, name: str) -> list[str]:
    """Of how many documents a metric is, where it is of fewer than the others."""
    return [f"on {metrics.share_of(name)}"] if name in metrics.examples_of else []


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
    registered: date
    reason: str


def read_refused(registry: ModelRegistry) -> list[Refused]:
    """The recipes that have versions and no champion, by name, with what was said of the newest version."""
    found = []
    for name in registry.names():
        versions = registry.versions(name)
        if versions and registry.champion(name) is None:
            newest = versions[-1]
            verdict = Verdict.of(newest)
            reason = verdict.sentence if verdict is not None else newest.tags.get(Tag.reason, "It was not judged.")
            found.append(Refused(name, newest.version, newest.created.date(), reason))
    return found
