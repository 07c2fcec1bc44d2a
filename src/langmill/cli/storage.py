"""`langmill remote` and `fsck`: where results are kept, and whether they are what they were."""

from __future__ import annotations

import click

from langmill.cli.command import command
from langmill.errors import IntegrityError, without_passwords

_FEW = 20  # damaged things that are listed


@command(example="langmill remote /mnt/shared/langmill\nlangmill remote s3://bucket/langmill --local")
@click.argument("address")
@click.option("--name", default="shared", show_default=True, help="What the remote is called.")
@click.option("--local", is_flag=True, help="For this machine alone: .dvc/config.local, which Git does not keep.")
def remote(address: str, name: str, local: bool) -> None:
    """Set the remote that keeps data and models.

    It becomes DVC's default: `dvc push` sends results to it, `langmill pull` brings them back.

    ADDRESS is a folder, or one that DVC knows: s3://, gs://, azure://, ssh://, https://. What is pulled from there is
    checked against its digest (verify). Commit .dvc/config, so that clones know the remote.
    """
    from langmill.cli.workspace import require_workspace
    from langmill.graph.remotes import set_remote

    require_workspace()
    before = set_remote(address, name, local=local)
    was = f" (was {without_passwords(before)})" if before not in (None, address) else ""
    file = ".dvc/config.local" if local else ".dvc/config"
    click.echo(f"{name} is {without_passwords(address)}{was}; what is pulled from there is checked. Written: {file}")
    click.echo("`dvc push` sends the results of this workspace; `langmill pull` in a clone brings them.")


@command(example="langmill fsck\nlangmill fsck --remote")
@click.option("--remote", "with_remote", is_flag=True, help="Read the remote too, all that dvc.lock names of it.")
def fsck(with_remote: bool) -> None:
    """Check every byte that is kept against its digest.

    DVC's cache, the outputs in build/, the models in the registry and, with --remote, DVC's remote. What is damaged is
    listed with what to do about it, and the exit code is then 1. Nothing is changed.
    """
    from langmill.cli.workspace import operation
    from langmill.graph.fsck import Damage, advice, cache_pieces, output_pieces, remote_pieces
    from langmill.graph.outputs import Outputs
    from langmill.progress import track
    from langmill.registry.checking import package_pieces

    settings = operation()
    outputs = Outputs()
    pieces = [*cache_pieces(outputs), *output_pieces(outputs)]
    if with_remote:
        pieces += remote_pieces(outputs)
    models = list(package_pieces(settings.tracking_uri))
    total, damages = sum(piece.num_bytes for piece in [*pieces, *models]), list[Damage]()
    with track("Checking", total / 1e6, "MB") as progress:
        for piece in [*pieces, *models]:
            damages += piece.check(lambda count: progress.advance(count / 1e6))
    for damage in damages[:_FEW]:
        click.echo(f"{damage.what}: {damage.why}. {damage.mend}".rstrip())
    if len(damages) > _FEW:
        click.echo(f"and {len(damages) - _FEW} more")
    if note := advice(outputs):
        click.echo(note)
    checked = f"{len(pieces):,} files and {len(models):,} registered models, {total / 1e6:,.0f} MB"
    if damages:
        raise IntegrityError(f"Of {checked}, {len(damages):,} are not what they should be.")
    click.echo(f"{checked}: all are what they were.")
