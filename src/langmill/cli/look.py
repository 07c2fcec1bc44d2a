"""`langmill status`, `why` and `config`: look, and change nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from langmill.cli.command import command
from langmill.errors import ConfigError
from langmill.workspace import Workspace

_FEW = 12


@command(example="langmill status\nlangmill status reviews-lm")
@click.argument("recipes", nargs=-1, metavar="[RECIPE]...")
def status(recipes: tuple[str, ...]) -> None:
    """Say what is in service and what is out of date.

    Shows the steps of the named recipes; without names, of those that `langmill run` makes and of those with a model in
    service. The other recipes of dvc.yaml are counted in one line.
    """
    from langmill.cli.results import in_columns
    from langmill.cli.workspace import operation
    from langmill.graph.dag import read_graph
    from langmill.graph.freshness import freshness_of
    from langmill.registry.status import baseline, worth
    from langmill.registry.status import status as models
    from langmill.registry.versions import Tag
    from langmill.stages.foresight import composed_params

    settings = operation()
    graph = read_graph()
    names = graph.names(Workspace().evaluation)
    found = [one for one in models(settings.tracking_uri) if not recipes or one.name in recipes]
    in_service = [one.name for one in found if one.name in names]
    chosen = list(dict.fromkeys(recipes or [*settings.recipes, *in_service]))
    asked = graph.for_recipes(chosen)
    rows = [("model", "champion", "trivial baseline", "strong baseline", "challenger", "previous")]
    for one in found:
        trivial, strong = (baseline(one.champion or one.challenger, tag) for tag in (Tag.trivial, Tag.strong))
        rows.append((one.name, worth(one.champion), trivial, strong, worth(one.challenger), worth(one.previous)))
    click.echo(in_columns(rows) if found else "No model is registered yet; `langmill run` makes the first.")
    for one in found:
        for note in one.notes:
            click.echo(f"{one.name}: {note}")
    click.echo()
    refused: dict[str, None] = {}
    predicted = composed_params()

    def params(path: str) -> Mapping[str, Any] | None:
        try:
            return predicted(path)
        except ConfigError as error:
            refused[str(error)] = None
            return None  # what the file holds now

    stale = {address: state for address, state in freshness_of(asked, params).items() if not state.fresh}
    for sentence in refused:
        click.echo(sentence)
    if stale:
        click.echo(f"{len(stale)} of {len(asked.stages)} steps of {', '.join(chosen)} are out of date:")
    else:
        click.echo(f"All {len(asked.stages)} steps of {', '.join(chosen)} are up to date.")
    for address, state in list(stale.items())[:_FEW]:
        reason = "at work now" if state.busy else ", ".join(state.reasons) or f"follows {', '.join(state.follows)}"
        click.echo(f"  {address}: {reason}")
    if len(stale) > _FEW:
        click.echo(f"  and {len(stale) - _FEW} more")
    if stale:
        click.echo(f"`{' '.join(['langmill run', *recipes])}` makes them; `langmill why STAGE` says more.")
    others = [name for name in names if name not in chosen]
    made = sum(Workspace().evaluation(name).is_dir() for name in others)
    if others:
        click.echo(
            f"Of {len(others)} other recipes {made} {'has' if made == 1 else 'have'} been made here; "
            "`langmill status RECIPE` tells of one, `langmill run RECIPE` makes it."
        )


@command(example="langmill why train@reviews-lm\nlangmill why reviews-lm")
@click.argument("stage")
def why(stage: str) -> None:
    """Say in words why a stage is out of date.

    STAGE is a stage of dvc.yaml, as in `train@reviews-lm`, or a recipe's name for all that leads to its evaluation.
    Each changed setting is shown with both its values. An edit of conf/ shows at once, before anything has run.
    """
    from langmill.cli.workspace import require_workspace
    from langmill.graph.dag import read_graph
    from langmill.graph.freshness import freshness_of
    from langmill.stages.foresight import composed_params

    require_workspace()
    graph = read_graph()
    if stage not in graph.stages and stage in graph.names(Workspace().evaluation):
        graph = graph.for_recipes([stage])
    else:
        graph.stage(stage)
        graph = graph.restricted_to([stage])
    freshness = freshness_of(graph, composed_params())
    stale = [address for address, state in freshness.items() if not state.fresh]
    if not stale or (stage in freshness and freshness[stage].fresh):
        click.echo(f"{stage} is up to date.")
        return
    for address in stale:
        state = freshness[address]
        click.echo(f"{address} ({graph.stages[address].description})")
        for reason in state.reasons:
            click.echo(f"  {reason}")
        if state.busy:
            click.echo("  it is at work now")
        for upstream in state.follows:
            click.echo(f"  it follows {upstream}, which is out of date")


@command(example="langmill config reviews-lm\nlangmill config reviews-lm training.steps=1000 --explain")
@click.argument("recipe")
@click.argument("overrides", nargs=-1)
@click.option("--explain", is_flag=True, help="Write above each value what it means and in which unit.")
def config(recipe: str, overrides: tuple[str, ...], explain: bool) -> None:
    """Print a recipe's resolved settings as YAML.

    OVERRIDES change values for the look, as in `training.steps=1000`; files stay as they are.
    """
    from langmill.cli.workspace import require_workspace
    from langmill.config.compose import compose_recipe, plain
    from langmill.config.core_yaml import dump_yaml
    from langmill.config.explained import explained

    require_workspace()
    composed = compose_recipe(recipe, overrides)  # what is refused here is refused before PyTorch is there
    from langmill.cli.options import plugin_tables
    from langmill.stages.compose import checked_recipe

    section = checked_recipe(recipe, overrides, composed)
    if explain:
        click.echo(explained(section, plugin_tables(section)))
    else:
        click.echo(dump_yaml(plain(section), sort_keys=False, width=100).rstrip())
