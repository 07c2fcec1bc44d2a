"""What becomes of a new corpus's first rows, and what to warn of."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path

import click

from langmill.config.sections import Corpus
from langmill.data.formats.base import build_format
from langmill.data.readers import first_read
from langmill.data.rows import BadRow, Row
from langmill.errors import LangmillError
from langmill.workspace import Workspace

_SAMPLED = 2000
_NAMED = 3  # files
_OF_A_FILE = 200  # of a folder of many


def warn_of_rows(corpus: Corpus, folder: Path) -> None:
    """Warn where first rows of a corpus can't be used, or lack the answer that is to be learned.

    Args:
        corpus: Its settings.
        folder: Its raw files, or some of them; or the one file.
    """
    wrong: dict[str, str] = {}
    try:
        file_format = build_format(corpus.format, str(Workspace().settings("corpus", corpus.name)))
        limit = _SAMPLED if folder.is_file() else _OF_A_FILE
        found = first_read(
            folder, file_format, corpus.fields, limit, max_characters=corpus.cleaning.longest, wrong=wrong
        )
        rows = list(islice(found, _SAMPLED))
    except LangmillError as error:  # what the stage will stop with
        click.echo(f"Warning: {' '.join(str(error).split())}", err=True)
        return
    for name, sentence in islice(wrong.items(), _NAMED):
        click.echo(f"Warning: {name}: {sentence}", err=True)
    if not rows:
        return
    file = Workspace().settings("corpus", corpus.name)
    bad = Counter(row.reason.value.replace("_", " ") for row in rows if isinstance(row, BadRow))
    reasons = ", ".join(f"{reason}: {count:,}" for reason, count in bad.most_common())
    first = f"the first {len(rows):,} rows of {corpus.name}" if len(rows) > 1 else f"the first row of {corpus.name}"
    place = next((row.where for row in rows if isinstance(row, BadRow)), "")
    if bad.total() == len(rows):
        click.echo(f"Warning: none of {first} can be used ({reasons}); see format and fields in {file}.", err=True)
    elif bad:
        click.echo(f"Warning: {bad.total():,} of {first} can't be used ({reasons}; the first is {place}).", err=True)
    target = corpus.fields.target
    empty = sum(isinstance(row, Row) and not (row.target or "").strip() for row in rows)
    if target is not None and not corpus.fields.files and empty:
        click.echo(
            f"Warning: {empty:,} of {first} {'has' if empty == 1 else 'have'} no {target}, which is what is learned: a "
            "recipe leaves them out.",
            err=True,
        )
