"""Commands with examples in their help texts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


class Command(click.Command):
    """A command whose help ends with examples."""

    def __init__(self, *args: Any, example: str, **kwargs: Any) -> None:
        """Make a command; each line of `example` is a command line."""
        super().__init__(*args, **kwargs)
        self.example = example

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples line by line; click would join their lines."""
        formatter.write("\nExample:\n")
        for line in self.example.strip().splitlines():
            formatter.write(f"  {line.strip()}\n")


def command(example: str, name: str | None = None) -> Callable[[Callable[..., Any]], Command]:
    """Decorate a function as a command with an example in its help."""
    return click.command(name, cls=Command, example=example)
