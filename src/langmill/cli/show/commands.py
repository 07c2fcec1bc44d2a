"""The command `langmill show`."""

from __future__ import annotations

import json

import click

from langmill.cli.command import command


@command(
    example="langmill show reviews\nlangmill show reviews --dropped duplicate\n"
    "langmill show reviews --why data.csv:12\nlangmill show reviews --step markup --count 3"
)
@click.argument("corpus")
@click.option("--dropped", metavar="REASON", help="What was dropped for this, beside what was kept; or quarantined.")
@click.option("--why", metavar="ID", help="What became of one document, by its id or its row's place.")
@click.option("--step", metavar="NAME", help="Documents before and after a step of cleaning.")
@click.option("--count", type=click.IntRange(1), default=10, show_default=True, help="How many documents.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another one shows other documents.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with whole texts.")
def show(
    corpus: str, *, dropped: str | None, why: str | None, step: str | None, count: int, seed: int, as_json: bool
) -> None:
    """Show documents of a corpus, and what cleaning did.

    Without an option it shows some documents. `--step` and `--why` take raw rows through the steps again, so that
    nothing need be kept for them; removed words are marked [-so-], added ones {+so+}, by colours on a terminal.
    """
    from langmill.cli.show.views import documents_view, dropped_view, step_view, why_view
    from langmill.cli.workspace import require_workspace

    require_workspace()
    if sum(one is not None for one in (dropped, why, step)) > 1:
        raise click.UsageError("Give one of --dropped, --why and --step.")
    if dropped is not None:
        name, view = "dropped", dropped_view(corpus, dropped, count, seed)
    elif why is not None:
        name, view = "why", why_view(corpus, why)
    elif step is not None:
        name, view = "steps", step_view(corpus, step, count, seed)
    else:
        name, view = "documents", documents_view(corpus, count, seed)
    if as_json:
        click.echo(json.dumps(view, ensure_ascii=False, indent=2))
        return
    from langmill.cli.show.drawing import Drawing

    getattr(Drawing(), name)(view)
