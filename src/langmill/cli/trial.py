"""`langmill trial`: how a challenger stands on live traffic."""

from __future__ import annotations

from typing import Any

import click

from langmill.cli.command import command

_UNITS = {"errors": "of the requests fail", "slowdown": "seconds an answer", "other answers": "of the answers differ"}


@command(example="langmill trial\nlangmill trial sentiment")
@click.argument("models", nargs=-1, metavar="[MODEL]...")
def trial(models: tuple[str, ...]) -> None:
    """Show the trials of challengers on live traffic.

    A server with serving.trial.mode shadow or canary has a share of the requests answered by two versions, compares
    them, and rolls the newer one back where it breaches a limit; docs/guides/serving.md tells more. This is what the
    server of this workspace noted last.
    """
    from langmill.config.compose import compose_serving
    from langmill.serving.trial.state import STATE_NAME, read_state
    from langmill.workspace import Workspace

    cache = Workspace().serving
    names = models or sorted(path.parent.name for path in cache.glob(f"*/{STATE_NAME}"))
    shown = [(name, state) for name in names if (state := read_state(cache, name))]
    for name, state in shown:
        click.echo("\n".join(_lines(name, state)))
    for name in sorted(set(names) - {name for name, _ in shown}):
        click.echo(f"{name}: no trial yet.")
    if not names:
        mode = compose_serving().trial.mode
        click.echo(f"No trial yet; serving.trial.mode is {mode}.")


def _lines(name: str, state: dict[str, Any]) -> list[str]:
    against = "the previous version" if state["promoted"] else "the champion"
    lines = [
        f"{name}: version {state['candidate']} beside {against}, {state['baseline']} ({state['mode']}, "
        f"{state['share']:.0%} of the requests), since {state['began'][:16].replace('T', ' ')} UTC: {state['outcome']}",
        f"  {state['pairs']} requests compared" + (f". {state['reason']}" if state["reason"] else ""),
    ]
    if state["outcome"] == "running":
        lines[1] += f"; the next look is after {state['next_look']}"
    for each in state["measures"]:
        beside = f" beside {each['baseline']:.4g}" if each["baseline"] is not None else ""
        difference = each["difference"]
        lines.append(
            f"  {each['name']}: {each['candidate']:.4g}{beside} {_UNITS.get(each['name'], '')}; "
            f"{'ratio' if each['name'] == 'slowdown' else 'difference'} {difference['value']:.4g} "
            f"[{difference['low']:.4g}, {difference['high']:.4g}], up to {each['limit']:g} is allowed"
            f"{': breached' if each['breached'] else ''}"
        )
    return lines
