"""`langmill key`: make a key for the server."""

from __future__ import annotations

import sys

import click

from langmill.cli.command import command


@command(example="langmill key\ncat keys-in-clear.txt | langmill key --convert")
@click.option("--convert", is_flag=True, help="Read keys from standard input, one a line, and make none.")
def key(convert: bool) -> None:
    """Make a key for the server.

    Writes a line for the file that serving.api_keys_file names, with the key's SHA-256 digest alone: append it there
    with >>. The key itself is shown once, on standard error: give it to the client.
    """
    from langmill.serving.keys import is_key_line, key_line, new_key

    if not convert:
        made = new_key()
        click.echo(key_line(made))
        click.echo(f"The key, shown this once: {made}", err=True)
        return
    for line in sys.stdin:
        given = line.strip()
        kept = not given or given.startswith("#") or is_key_line(given)
        click.echo(given if kept else key_line(given))
