"""`langmill promote`, `rollback` and `trace`: what is in service, and why."""

from __future__ import annotations

import shlex
import sys

import click

from langmill.cli.command import command
from langmill.errors import RegistryError
from langmill.workspace import Workspace


@command(
    example="langmill promote sentiment 3\n"
    "langmill promote sentiment 3 --force 'the test set was wrong, see the note of 3 May'"
)  # fmt: skip
@click.argument("model")
@click.argument("version", type=int)
@click.option("--force", metavar="REASON", help="Promote against the gate's verdict, or without one; say why.")
def promote(model: str, version: int, force: str | None) -> None:
    """Make a version the champion.

    The one in service becomes the previous one.
    Without --force only a version that the gate let through is promoted. A version that failed validation never is.
    --force also settles who is champion where someone moved or removed the alias by other means, and accepts a ledger
    that was changed or cut.
    """
    from langmill.registry.promote import promote as move
    from langmill.registry.store import ModelRegistry

    registry = ModelRegistry(_tracking_uri())
    click.echo(move(registry, model, version, force=force, command=_typed()).sentence)


@command(example="langmill rollback sentiment --reason 'wrong on negations'")
@click.argument("model")
@click.option("--reason", default="", help="Why; it is kept in the ledger.")
def rollback(model: str, reason: str) -> None:
    """Put the previous version back in service.

    Typing it a second time goes forward again. The flow does not promote a version that was rolled back; a person can.
    """
    from langmill.registry.promote import rollback as move
    from langmill.registry.store import ModelRegistry

    registry = ModelRegistry(_tracking_uri())
    click.echo(move(registry, model, reason=reason, command=_typed()).sentence)


@command(example="langmill trace sentiment\nlangmill trace sentiment 3")
@click.argument("model")
@click.argument("version", type=int, required=False)
def trace(model: str, version: int | None) -> None:
    """Show the lineage of a version.

    From its place in service back to settings, code and data, each digest checked where its bytes are available.
    Without VERSION it is the champion's, or the challenger's if there is no champion. Exits with 1 if something that
    the version was made from, or the ledger, is damaged.
    """
    from langmill.cli.workspace import operation, require_recipe
    from langmill.registry.store import ModelRegistry
    from langmill.registry.trace import trace as find_lineage
    from langmill.registry.versions import CHALLENGER, CHAMPION

    uri = operation().tracking_uri
    if version is None:
        found = {
            alias: one.version for one in ModelRegistry(uri).overview() if one.name == model for alias in one.aliases
        }
        version = found.get(CHAMPION) or found.get(CHALLENGER)
        if version is None:
            require_recipe(model)
            sentence = f"{model} has no champion and no challenger; `langmill status` lists what there is."
            raise RegistryError(sentence, "missing")
    lineage = find_lineage(uri, model, version)
    click.echo(lineage.text())
    if lineage.damage:
        click.echo("\nNot sound. " + " ".join(lineage.damage))
        click.get_current_context().exit(1)


def _tracking_uri() -> str:
    """Address of the registry, read as it stands where nothing has to be merged: Hydra's import takes half a second.

    Raises as `operation`.
    """
    from langmill.config.core_yaml import read_yaml

    workspace = Workspace()
    path = workspace.settings("operation", "default")
    if workspace.graph_file.is_file() and path.is_file():
        values = read_yaml(path)
        uri = values.get("tracking_uri") if isinstance(values, dict) and "defaults" not in values else None
        if isinstance(uri, str) and "${" not in uri:
            return uri
    from langmill.cli.workspace import operation

    return operation().tracking_uri


def _typed() -> str:
    return shlex.join(["langmill", *sys.argv[1:]])
