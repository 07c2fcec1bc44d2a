"""`langmill report` and `compare`: what the champions are worth, as a page, a table and a plot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from langmill.cli.command import command
from langmill.errors import LangmillError
from langmill.workspace import Workspace

if TYPE_CHECKING:
    from langmill.registry.results import Result


@command(example="langmill report\nlangmill report --out docs/results.md")
@click.option("--out", default="docs/results.md", show_default=True, type=click.Path(path_type=Path), help="The page.")
def report(out: Path) -> None:
    """Write the page of results from the registry.

    Every champion, its metrics, and what it was measured against; what the gate refused, and why. Nothing is measured
    anew. Rows of the page whose models the registry does not have stay, as after a clone.
    """
    from langmill.cli.workspace import operation
    from langmill.files import write_text
    from langmill.registry.results import read_refused, read_results, results_page
    from langmill.registry.store import ModelRegistry

    registry = ModelRegistry(operation().tracking_uri)
    results, refused = read_results(registry), read_refused(registry)
    if not results:
        raise LangmillError("There is no champion yet; `langmill run` makes some.", "missing")
    former = out.read_text(encoding="utf-8") if out.is_file() else ""
    write_text(out, results_page(results, refused, former))
    click.echo(f"{len(results)} champions{f', {len(refused)} refused' if refused else ''}: {out}")


@command(example="langmill compare shakespeare-rnn shakespeare-gru shakespeare-lstm shakespeare-gpt")
@click.argument("recipes", nargs=-1, required=True, metavar="RECIPE...")
@click.option("--metric", help="A metric of the task; default: the one that decides.")
@click.option(
    "--out",
    default=Workspace().comparisons,
    show_default=True,
    type=click.Path(path_type=Path),
    help="The folder for the plot.",
)
def compare(recipes: tuple[str, ...], metric: str | None, out: Path) -> None:
    """Put recipes of one task side by side.

    A table, and a plot of quality against parameters and minutes.
    """
    from langmill.cli.workspace import operation
    from langmill.evaluation.plots import draw_points
    from langmill.registry.results import read_results
    from langmill.registry.store import ModelRegistry

    results = read_results(ModelRegistry(operation().tracking_uri), dict.fromkeys(recipes))
    tasks = sorted({result.task for result in results})
    if len(tasks) > 1:
        raise LangmillError(
            f"These recipes are of {len(tasks)} tasks ({', '.join(tasks)}); only those of one can be compared.",
            "mismatch",
        )
    decides = metric or results[0].metrics.primary
    lacking = [result.name for result in results if decides not in result.metrics.estimates]
    if lacking:
        known = ", ".join(results[0].metrics.estimates)
        raise LangmillError(f"{lacking[0]} has no metric {decides!r}; {results[0].name} has {known}.", "unknown")
    click.echo(comparison(results, decides))
    if len({result.metrics.test_set for result in results}) > 1:
        click.echo("\nThey were judged on different documents: how they rank says little.")
    path = out / f"{'-'.join(result.name for result in results)[:100]}-{decides}.png"
    points = {result.name: (result.parameters, result.minutes, result.metrics.estimates[decides]) for result in results}
    draw_points(points, decides, path)
    click.echo(f"\nThe plot: {path}")


def comparison(results: list[Result], metric: str) -> str:
    """Results under their headings, in columns."""
    from langmill.cli.results import in_columns
    from langmill.evaluation.estimates import number

    tuned = any(metric in result.metrics.zero_shot_values for result in results)
    lines = [
        (
            result.name,
            str(result.version),
            f"{result.parameters:,}",
            "-" if result.minutes is None else f"{result.minutes:.1f}",
            number(result.metrics.estimates[metric].value),
            result.metrics.estimates[metric].interval,
            result.metrics.share_of(metric) or f"{result.metrics.examples:,}",
            *([_zero_shot(result, metric)] if tuned else []),
        )
        for result in results
    ]
    heading = ("recipe", "version", "parameters", "minutes", metric, "interval", "test documents")
    return in_columns([(*heading, *(["base as it came"] if tuned else [])), *lines])


def _zero_shot(result: Result, metric: str) -> str:
    """What a result's base reached before it was tuned; a dash where that is not known."""
    from langmill.evaluation.estimates import number

    value = result.metrics.zero_shot_values.get(metric)
    return "-" if value is None else f"{result.metrics.base} {number(value)}"
