"""Documents of a corpus as far as they are on this machine, for a look before it is cleaned."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from langmill.config.sections import Corpus
from langmill.data.formats.base import build_format
from langmill.data.readers import first_read
from langmill.data.rows import Row
from langmill.data.sources.base import build_source
from langmill.errors import LangmillError
from langmill.workspace import Workspace


def documents_available(corpus: Corpus, most: int) -> list[tuple[str, str | None]]:
    """Text and label of a corpus's rows, at most so many, as far as it is on this machine."""
    where = str(Workspace().settings("corpus", corpus.name))
    folder = Path(build_source(corpus.source, where).local or Workspace().raw(corpus.name))
    file_format = build_format(corpus.format, where)
    try:
        rows = first_read(folder, file_format, corpus.fields, most, max_characters=corpus.cleaning.longest)
        found = ((row.text, row.label) for row in rows if isinstance(row, Row) and row.text.strip())
        return list(islice(found, most))
    except (LangmillError, OSError):
        return []  # the stages say what is wrong with it
