"""The rows of a query, through SQLAlchemy: SQLite, PostgreSQL, and any other database that it knows."""

from __future__ import annotations

import contextlib
import datetime
import decimal
import json
import logging
import math
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

from langmill.config.constraints import Allowed, require
from langmill.config.core_yaml import as_written
from langmill.config.sections import Source
from langmill.data.formats.base import Format
from langmill.data.sources.base import SOURCES, CorpusSource, Fingerprint
from langmill.data.sources.kept import bring, keep, kept
from langmill.data.sources.local import write
from langmill.errors import SourceError, SourceUnreachableError, without_passwords
from langmill.progress import track

logger = logging.getLogger(__name__)

ROWS = "rows.jsonl"
"""What the rows are called among the raw files: an object a line."""
_BATCH = 1000  # rows in memory
_SAMPLED = 1000
_VARIABLE = re.compile("[A-Za-z_][A-Za-z0-9_]*")
_QUOTED = re.compile(
    r"'(?:[^']|'')*+(?:'|\Z)|\"(?:[^\"]|\"\")*+(?:\"|\Z)|--[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL
)  # what is not closed goes on to the end, so that it is looked at once
_INNERMOST = re.compile(r"\([^()]*\)")


def _is_ordered(query: str) -> bool:
    """Whether the rows of the whole query are ordered: what stands in brackets orders a window or a part of it."""
    outer = _QUOTED.sub(" ", query)
    while (less := _INNERMOST.sub(" ", outer)) != outer:
        outer = less
    words = outer.lower().split()
    return words[:1] in (["select"], ["with"]) and "order" in words and words[words.index("order") + 1 :][:1] == ["by"]


@dataclass
class SqlOptions:
    """The options of the source `sql`."""

    query: Annotated[str, Allowed("a SELECT with an ORDER BY, so that the same rows are the same bytes", _is_ordered)]
    """The query; its columns are the fields of a row."""
    url_variable: Annotated[str, Allowed("the name of an environment variable", _VARIABLE.fullmatch)] | None = None
    """The environment variable that holds the database's URL, as in `postgresql+psycopg://user:password@host/name`."""
    url_file: str | None = None
    """Or the file that holds it, for what keeps secrets in files. Neither stands in the settings itself."""
    version_query: str | None = None
    """A cheaper query that changes whenever the rows do (`select count(*), max(changed) from letters`): `langmill
    refresh` then reads them only if it does. Null reads them each time."""


class _Stream:
    """Lines as a file that is read from."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self._lines = lines
        self.count = 0

    def read(self, size: int = -1) -> bytes:
        del size  # a batch of lines is small
        lines = list(islice(self._lines, _BATCH))
        self.count += len(lines)
        return b"".join(lines)


@SOURCES.register("sql")
class Sql(CorpusSource):
    """The rows of a query, streamed in its order into one file of JSON lines. Nothing is written to the database."""

    options_class = SqlOptions
    options: SqlOptions
    can_change = True

    def __init__(self, section: Source, options: Any) -> None:
        super().__init__(section, options)
        require(section.path is None, "source.path", section.path, "null for the kind sql")
        given = [self.options.url_variable, self.options.url_file]
        require(
            sum(each is not None for each in given) == 1, "source.options.url_variable", self.options.url_variable,
            "a variable's name here, or a file in source.options.url_file, and not both",
        )  # fmt: skip

    def fingerprint(self, before: Fingerprint | None, downloads: Path) -> Fingerprint:
        """The SHA-256 and the number of the rows; with a `version_query`, what that says."""
        known = (before or {}).get(ROWS, {})
        with self._connected() as connection:
            version = {}
            if self.options.version_query is not None:
                first = _execute(connection, self.options.version_query).fetchone()
                version = {"version": [_plain(value, "version_query") for value in first or ()]}
                if "sha256" in known and known.get("version") == version["version"]:
                    return {ROWS: dict(known)}
            stream = _Stream(self._lines(connection))
            with track(f"Reading {self._title()}", 0, "MB") as progress:
                sha256 = keep(stream, downloads, lambda count: progress.advance(count / 1e6))  # type: ignore[arg-type]
        return {ROWS: {"sha256": sha256, "rows": stream.count, **version}}

    def fetch(self, file_format: Format, into: Path, downloads: Path) -> dict[str, int]:
        """Write the rows, as they were recorded."""
        if not file_format.reads(Path(ROWS)):
            raise SourceError(
                "Rows of a database come as JSON lines, which the corpus's format does not read "
                f"({file_format.endings()}).",
                "mismatch",
            )
        recorded = (self.recorded or {}).get(ROWS, {}).get("sha256")
        path = None if recorded is None else kept(recorded, downloads)
        if path is None:
            found = self.fingerprint(None, downloads)[ROWS]["sha256"]
            if recorded is not None and found != recorded:
                raise SourceError(
                    f"The rows of {self._title()} are not those that were recorded; `langmill refresh CORPUS` takes "
                    "them as they are now.",
                    "changed",
                )
            path = kept(found, downloads)
            assert path is not None
        if path.stat().st_size == 0:
            raise SourceError(f"The query of {self._title()} gives no row; look at source.options.query.", "missing")
        bring(path, into / ROWS)
        return {}

    def sample(self, file_format: Format, into: Path, downloads: Path) -> None:
        """Write the first rows."""
        del file_format, downloads
        with self._connected() as connection:
            stream = _Stream(islice(self._lines(connection), _SAMPLED))
            write(stream, into / ROWS, lambda _: None)  # type: ignore[arg-type]

    def facts(self) -> dict[str, Any]:
        """The query; not where the database is."""
        return super().facts() | {"query": self.options.query}

    def _title(self) -> str:
        return f"the database in {self.options.url_variable or self.options.url_file}"

    def _lines(self, connection: Any) -> Iterator[bytes]:
        """The rows as lines of JSON."""
        result = _execute(connection.execution_options(stream_results=True, yield_per=_BATCH), self.options.query)
        names = list(map(str, result.keys()))
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise SourceError(
                f"The query gives two columns called {as_written(twice)}; name one of them otherwise.", "duplicate"
            )
        for row in result:
            values = {name: _plain(value, name) for name, value in zip(names, row, strict=True)}
            yield (json.dumps(values, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")

    def _url(self) -> str:
        """The database's URL."""
        if self.options.url_variable is not None:
            found = os.environ.get(self.options.url_variable)
            if not found:
                raise SourceError(
                    f"The environment variable {self.options.url_variable} is not set, which "
                    "source.options.url_variable names; put the database's URL there.",
                    "missing",
                )
            return found.strip()
        try:
            return Path(str(self.options.url_file)).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SourceError(
                f"{self.options.url_file}, which source.options.url_file names, can't be read: {type(error).__name__}.",
                "missing",
            ) from error

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Any]:
        """A connection in a transaction that is rolled back, read-only where the database knows that."""
        import sqlalchemy
        from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

        title = f"T{self._title()[1:]}"
        try:
            engine = sqlalchemy.create_engine(self._url(), poolclass=sqlalchemy.pool.NullPool)
        except (ArgumentError, NoSuchModuleError, ValueError) as error:
            said = "it holds no URL of a database, as in sqlite:///letters.db"
            raise SourceError(f"{title} can't be used: {said}.", "impossible") from error
        except ImportError as error:
            extra = (
                'pip install "langmill[postgres]"'
                if error.name and "psycopg" in error.name
                else f"pip install {error.name}"
            )
            raise SourceError(f"{title} wants a driver that is not installed here: {extra}.", "missing") from error
        if engine.dialect.name == "sqlite":
            _require_database(engine.url.database)
        try:
            with engine.connect() as connection:
                if engine.dialect.name == "sqlite":
                    connection.exec_driver_sql("PRAGMA query_only = ON")
                elif engine.dialect.name == "postgresql":
                    connection.execution_options(postgresql_readonly=True)
                yield connection
                connection.rollback()
        except DBAPIError as error:
            logger.error("%s could not be read", title, exc_info=error)
            words = without_passwords(" ".join(str(error.orig).split()))[:300]
            if isinstance(error, sqlalchemy.exc.OperationalError) and error.statement is None:
                raise SourceUnreachableError(f"{title} does not answer: {words}.") from error
            raise SourceError(f"{title} refused the query: {words}.", "refused") from error
        except SQLAlchemyError as error:
            raise SourceError(f"{title} can't be read: {without_passwords(str(error))[:300]}.", "failed") from error
        finally:
            engine.dispose()


def _require_database(path: str | None) -> None:
    """Refuse a SQLite database that is not there, which SQLite would make."""
    if path and path != ":memory:" and not path.startswith("file:") and not Path(path).is_file():
        raise SourceError(f"There is no SQLite database {Path(path).name}; check the URL.", "missing")


def _execute(connection: Any, query: str) -> Any:
    import sqlalchemy

    return connection.execute(sqlalchemy.text(query.replace(":", r"\:")))  # a colon begins no parameter


def _plain(value: object, name: str) -> object:
    """A value as JSON has it. Raises SourceError where it is bytes, or of another type that no text stands for."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float | decimal.Decimal):
        return (int(value) if value == int(value) else float(value)) if math.isfinite(value) else None
    if isinstance(value, datetime.datetime | datetime.date | datetime.time | datetime.timedelta | uuid.UUID):
        return value.isoformat() if hasattr(value, "isoformat") else str(value)
    if isinstance(value, list | tuple):
        return [_plain(item, name) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item, name) for key, item in value.items()}
    raise SourceError(
        f"The column {as_written(name)} holds values of the type {type(value).__name__}; cast them to text there.",
        "wrong_type",
    )
