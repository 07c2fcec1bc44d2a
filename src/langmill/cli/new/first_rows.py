"""What becomes of a new corpus's first rows, and what to warn of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import click

from langmill.config.sections import Corpus
from langmill.data.formats.base import build_format
from langmill.data.readers import first_read
from langmill.data.rows import BadRow, Row, portable
from langmill.workspace import Workspace

_SAMPLED = 2000
_PLAIN = "rows of their own"  # of files without a shape that a format is for


def warn_of_formats(formats: Mapping[str | None, Path], corpus: str) -> None:
    """Warn where the files of a new corpus have several shapes, of which it reads the first alone.

    Args:
        formats: The formats, each with a file that has it; see `guess_formats`.
        corpus: The corpus's name.
    """
    if len(formats) > 1:
        each = [f"{name or _PLAIN} ({portable(file.name)})" for name, file in formats.items()]
        click.echo(
            f"Warning: the files have several shapes: {', '.join(each)}. {corpus} reads the first of them, and what is "
            "of another one is quarantined; put the others into a folder, and begin a corpus, of their own.",
            err=True,
        )


def warn_of_rows(corpus: Corpus) -> None:
    """Warn where first rows of a corpus of local files can't be used, or lack the answer that its format promises."""
    rows = list(islice(_rows(corpus), _SAMPLED))
    if not rows:
        return
    file = Workspace().settings("corpus", corpus.name)
    bad = Counter(row.reason.value.replace("_", " ") for row in rows if isinstance(row, BadRow))
    reasons = ", ".join(f"{reason}: {count:,}" for reason, count in bad.most_common())
    first = f"the first {len(rows):,} rows of {corpus.name}" if len(rows) > 1 else f"the first row of {corpus.name}"
    if bad.total() == len(rows):
        click.echo(f"Warning: none of {first} can be used ({reasons}); see format and fields in {file}.", err=True)
    elif bad:
        click.echo(f"Warning: {bad.total():,} of {first} can't be used ({reasons}).", err=True)
    target = corpus.fields.target
    empty = sum(isinstance(row, Row) and not (row.target or "").strip() for row in rows)
    if target is not None and empty:
        click.echo(
            f"Warning: {empty:,} of {first} {'has' if empty == 1 else 'have'} no {target}, which is what is learned: a "
            "recipe leaves them out.",
            err=True,
        )


def _rows(corpus: Corpus) -> Iterator[Row | BadRow]:
    where = str(Workspace().settings("corpus", corpus.name))
    path, file_format = Path(str(corpus.source.path)), build_format(corpus.format, where)
    for file in [path] if path.is_file() else file_format.files(path):
        yield from first_read(file, file_format, corpus.fields, _SAMPLED)
