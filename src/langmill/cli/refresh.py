"""`langmill refresh`: look again at the places that corpora come from and that can change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from langmill.cli.command import command
from langmill.errors import LangmillError
from langmill.workspace import Workspace

if TYPE_CHECKING:
    from langmill.data.sources.base import CorpusSource

_SHOWN = 5


@command(example="langmill refresh\nlangmill refresh letters")
@click.argument("corpora", nargs=-1, metavar="[CORPUS]...")
def refresh(corpora: tuple[str, ...]) -> None:
    """Look again where corpora come from.

    Says what changed since the last look, and notes what is there now in data/fingerprints/; `langmill run` then reads
    it again. Where the bytes turn out to be the same, nothing after that runs. Without names it looks at every corpus
    that can change.
    """
    from langmill.cli.workspace import require_workspace
    from langmill.config.compose import compose_corpus
    from langmill.data.sources.base import build_source
    from langmill.stages.lines import read_lines

    require_workspace()
    lines = read_lines().corpora
    failed: list[LangmillError] = []
    seen = 0
    for name in dict.fromkeys(corpora or lines):
        try:
            section = compose_corpus(name)
            source = build_source(section.source, str(Workspace().settings("corpus", name)))
        except LangmillError as error:
            if corpora:
                raise
            failed.append(error)
            continue
        if source.can_change:
            seen += 1
            try:
                _look(name, source)
            except LangmillError as error:
                failed.append(error)
        elif corpora and source.local is not None:
            click.echo(f"{name}: {source.local} is on this machine, and every run looks at it by itself.")
        elif corpora:
            click.echo(f"{name}: pinned, so it can't change.")
    if not corpora and not seen and not failed:
        click.echo("No corpus comes from a place that can change; local files are looked at by every run.")
    if len(failed) == 1:
        raise failed[0]
    if failed:
        raise LangmillError(" ".join(map(str, failed)), "failed")


def _look(name: str, source: CorpusSource) -> None:
    """Compare what is there with what was recorded, and record it."""
    from langmill.data.sources.base import differences
    from langmill.files import read_json, write_json

    path = Workspace().fingerprint(name)
    before = read_json(path) if path.is_file() else None
    after = source.fingerprint(before, Workspace().downloads)
    changes = differences(before, after)
    if before != after:
        write_json(path, after)
    if before is None:
        click.echo(f"{name}: looked at for the first time, {_counted(len(after))}; noted in {path}.")
    elif not changes:
        click.echo(f"{name}: unchanged ({_counted(len(after))}).")
    else:
        listed = ", ".join(changes[:_SHOWN]) + (f" and {len(changes) - _SHOWN:,} more" if len(changes) > _SHOWN else "")
        click.echo(f"{name}: {listed}. `langmill run` reads it again.")


def _counted(count: int) -> str:
    return f"{count:,} file{'' if count == 1 else 's'}"
