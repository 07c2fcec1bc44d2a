"""Where a new corpus comes from: what `--from` says, and what conf/ and dvc.yaml say of it."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import Any

from langmill.cli.new.files import require_text
from langmill.cli.new.templates import source_text
from langmill.config.sections import FormatSection, Source
from langmill.data.formats.base import build_format
from langmill.data.sources.base import CorpusSource, build_source, watched
from langmill.errors import LangmillError
from langmill.files import pretty_json
from langmill.workspace import Workspace

_WHERE = "--from"
_HUB = re.compile(r"hub:(?P<repository>[^@:]+)(@(?P<revision>[^:]*))?(:(?P<files>.+))?")
_COMMIT = re.compile("[0-9a-f]{40}")


class Place(ABC):
    """A place that `--from` names."""

    local: Path | None = None
    """A file or folder of this machine, which is looked at where it lies."""
    comment: str = ""
    """What conf/ says beside it."""

    @property
    @abstractmethod
    def title(self) -> str:
        """What it is called among people."""

    @property
    @abstractmethod
    def section(self) -> Source:
        """What conf/ says of it."""

    @property
    def description(self) -> str:
        """The corpus's description."""
        return f"Files from {self.title}."

    @cached_property
    def source(self) -> CorpusSource:
        """What brings its files. Raises ConfigError where what was given can't be."""
        return build_source(self.section, _WHERE)

    def lines(self) -> str:
        """The lines under `source:` in conf/."""
        return source_text(self.section, self.comment)

    def watched(self, name: str) -> str:
        """What the line of dvc.yaml says."""
        return watched(self.source, name)

    def require_writable(self, name: str) -> None:
        """Refuse what conf/ can't hold, and a record that is there already, with a LangmillError."""
        path = Workspace().fingerprint(name)
        if self.source.can_change and path.exists():
            raise LangmillError(f"{path} exists; choose another name, or delete that file.", "duplicate")

    def sample(self, into: Path, format_name: str | None) -> None:
        """Bring enough of its files to see what they are."""
        file_format = build_format(FormatSection(format_name or "auto", {}), _WHERE)
        self.source.sample(file_format, into, Workspace().downloads)

    def record(self, name: str) -> dict[Path, str]:
        """The file that says what is there, for a place that can change, and its text."""
        if not self.source.can_change:
            return {}
        found = self.source.fingerprint(None, Workspace().downloads)
        return {Workspace().fingerprint(name): pretty_json(found)}


class LocalPlace(Place):
    """A file or a folder."""

    comment = "A file or a folder, which is read with all below it. dvc.yaml must say the same."

    def __init__(self, path: Path) -> None:
        self.local: Path = path

    @property
    def title(self) -> str:
        """The path."""
        return str(self.local)

    @property
    def description(self) -> str:
        """What it is."""
        return f"Local files from {self.local}."

    @property
    def section(self) -> Source:
        """Local files."""
        return Source("files", [], str(self.local))

    def require_writable(self, name: str) -> None:
        """Refuse a path that YAML can't hold."""
        require_text(self.local)


class UrlPlace(Place):
    """An address."""

    comment = (
        "Files at addresses; data/fingerprints/ says what was there, `langmill refresh` looks again. "
        "`sha256: {NAME: ...}` refuses any other bytes."
    )

    def __init__(self, url: str) -> None:
        self._url = url

    @property
    def title(self) -> str:
        """The address."""
        return self._url

    @property
    def section(self) -> Source:
        """One address."""
        return Source("url", [], None, {"urls": [self._url]})


class HubPlace(Place):
    """A data set of the Hugging Face hub, at a commit."""

    comment = "A data set of the Hugging Face hub at a commit; no script of it runs."

    def __init__(self, repository: str, revision: str, files: str | None) -> None:
        if not _COMMIT.fullmatch(revision):
            raise LangmillError(
                f"--from hub:{repository} needs the commit, 40 hexadecimal digits, as in hub:ID@COMMIT: a branch would "
                "bring other rows one day. The hub shows it under `Files and versions`, `history`.",
                "impossible",
            )
        self._repository, self._revision = repository, revision
        self._files = [files] if files else ["*"]

    @property
    def title(self) -> str:
        """The data set."""
        return f"{self._repository} of the Hugging Face hub"

    @property
    def section(self) -> Source:
        """The commit's files."""
        options = {"repository": self._repository, "revision": self._revision, "files": self._files}
        return Source("hub", [], None, options)


class SqlPlace(Place):
    """A database whose URL an environment variable holds."""

    comment = (
        "The rows of a query. The database's URL stands in the environment variable, since it may hold a password."
    )

    def __init__(self, variable: str, query: str) -> None:
        self._variable, self._query = variable, query

    @property
    def title(self) -> str:
        """The database."""
        return f"the database in {self._variable}"

    @property
    def description(self) -> str:
        """What it is."""
        return f"Rows of {self.title}."

    @property
    def section(self) -> Source:
        """The query."""
        options: dict[str, Any] = {"url_variable": self._variable, "query": self._query}
        return Source("sql", [], None, options)


def place_of(text: str, query: str | None) -> Place:
    """The place that `--from` names. Raises LangmillError where it names none."""
    if text.startswith("sql:"):
        if query is None:
            raise LangmillError(f"--from {text} needs --query, a SELECT with an ORDER BY.", "missing")
        return SqlPlace(text.removeprefix("sql:"), query)
    if query is not None:
        raise LangmillError("--query goes with --from sql:VARIABLE.", "impossible")
    if (path := Path(text)).exists():
        if not path.is_file() and not path.is_dir():
            raise LangmillError(f"{text} is a pipe or a device; write what it gives into a file first.", "unsupported")
        return LocalPlace(path)
    if found := _HUB.fullmatch(text):
        return HubPlace(found["repository"], found["revision"] or "", found["files"])
    if "://" in text:
        return UrlPlace(text)
    raise LangmillError(f"{text} does not exist; give the path of a file or a folder to --from.", "missing")
