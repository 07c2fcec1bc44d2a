"""What every command of the command line has: a help text with an example."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


class Command(click.Command):
    """A command whose help ends with examples."""

    def __init__(self, *args: Any, example: str, **kwargs: Any) -> None:
        """Make a command; `example` holds one command line a line."""
        super().__init__(*args, **kwargs)
        self.example = example

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples as they are; click would join their lines."""
        formatter.write("\nExample:\n")
        for line in self.example.strip().splitlines():
            formatter.write(f"  {line.strip()}\n")


def command(example: str, name: str | None = None) -> Callable[[Callable[..., Any]], Command]:
    """Decorator: a command with an example in its help."""
    return click.command(name, cls=Command, example=example)
