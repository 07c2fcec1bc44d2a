"""`langmill key`: make a key for the server."""

from __future__ import annotations

import sys

import click

from langmill.cli.command import command


@command(example="langmill key\nlangmill key --scope ask\ncat keys-in-clear.txt | langmill key --convert")
@click.option("--scope", type=click.Choice(["ask", "administer"]), help="What it opens; by default everything.")
@click.option("--convert", is_flag=True, help="Read keys from standard input, one a line, and make none.")
def key(convert: bool, scope: str | None) -> None:
    """Make a key for the server.

    Writes a line for the file that serving.api_keys_file names, with the key's SHA-256 digest alone: append it there
    with >>. The key itself is shown once, on standard error: give it to the client. One with the scope `ask` asks the
    models; one with `administer` also reads /metrics and why a model is not ready.
    """
    from langmill.serving.keys import Scope, is_key_line, key_line, new_key

    opens = Scope(scope) if scope else None
    if not convert:
        made = new_key()
        click.echo(key_line(made, opens))
        click.echo(f"The key, shown this once: {made}", err=True)
        return
    for line in sys.stdin:
        given = line.strip()
        kept = not given or given.startswith("#") or is_key_line(given)
        click.echo(given if kept else key_line(given, opens))
