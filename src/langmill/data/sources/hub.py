"""A data set of the Hugging Face hub: files of a commit. No script of it runs, and `datasets` is not needed."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from langmill.config.constraints import Allowed, require
from langmill.config.sections import Source
from langmill.config.sections.sources import Commit, Repository
from langmill.data.formats.base import Format
from langmill.data.sources.base import SOURCES, CorpusSource
from langmill.data.sources.hub_files import snapshot
from langmill.data.sources.local import copy_files
from langmill.errors import SourceError

_WITHOUT = "put the files into a folder and begin with that: `langmill new corpus NAME --from FOLDER`"


@dataclass
class HubOptions:
    """The options of the source `hub`."""

    repository: Repository
    """The data set, as in stanfordnlp/imdb."""
    revision: Commit
    """The commit, 40 hexadecimal digits; a branch would bring other rows one day."""
    files: Annotated[list[str], Allowed("at least one path inside the repository", bool)]
    """The files to read; `*` and `?` stand for any characters, `/` included. The hub's own Parquet copy of a data set
    that is made by a script lies at another commit, that of its branch `refs/convert/parquet`."""


@SOURCES.register("hub")
class HubDataset(CorpusSource):
    """Files of a commit, which can't change."""

    options_class = HubOptions
    options: HubOptions

    def __init__(self, section: Source, options: Any) -> None:
        super().__init__(section, options)
        require(section.path is None, "source.path", section.path, "null for the kind hub")

    def fetch(self, file_format: Format, into: Path, downloads: Path) -> dict[str, int]:
        """Fill the hub's cache if need be, and copy the files that the format reads out of it."""
        del downloads
        options = self.options
        folder = snapshot(options.repository, options.revision, options.files, without=_WITHOUT, kind="dataset")
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        named = [path.relative_to(folder) for path in files]
        chosen = {path: folder / path for path in named if self._names(path) and file_format.reads(path)}
        if not chosen:
            title = f"{options.repository} at {options.revision[:12]}"
            there = ", ".join(sorted({path.suffix or "none" for path in named if self._names(path)}))
            said = f"they have the endings {there}" if there else "there is none"
            raise SourceError(
                f"{title} has no file that source.options.files names and the format reads ({file_format.endings()}); "
                f"{said}.",
                "missing",
            )
        copy_files(chosen, options.repository, into)
        return {}

    def facts(self) -> dict[str, Any]:
        """The repository, its commit and the files."""
        options = self.options
        facts = {"repository": options.repository, "revision": options.revision, "files": options.files}
        return super().facts() | facts

    def _names(self, path: Path) -> bool:
        return any(fnmatch.fnmatch(path.as_posix(), pattern) for pattern in self.options.files)
