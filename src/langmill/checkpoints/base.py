"""What a pretrained model's source offers.

A source is a class with `MODEL_SOURCES.register` over it. Weights are read from safetensors and GGUF files alone: a
pickled file can run code when it is opened, so none is brought.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from langmill.checkpoints.gguf_file import ENDING
from langmill.config.constraints import require
from langmill.config.sections import CheckpointSource
from langmill.data.sources.base import source_of
from langmill.plugins import NoOptions, Registry

PLAIN_FILES = ("*.json", "*.safetensors", "*.model", "vocab.txt", "merges.txt", "*.jinja")
"""What `transformers` reads of a model, by pattern."""
_FOREIGN = {"manifest.json", "modules.json", "data_config.json"}  # of other programs, and of ours
_NEEDED = {
    "packages": "at least one package",
    "repository": "a repository's name",
    "revision": "a commit of the repository",
    "path": "the path of a folder or a file",
}


class CheckpointFiles:
    """The files of a model that are of use, all in one folder."""

    def __init__(self, patterns: tuple[str, ...] = (*PLAIN_FILES, f"*{ENDING}")) -> None:
        self.patterns = patterns

    def reads(self, path: PurePosixPath | Path) -> bool:
        """Whether a file is one of them."""
        return path.name not in _FOREIGN and any(PurePosixPath(path.name).match(pattern) for pattern in self.patterns)

    def files(self, folder: Path) -> list[Path]:
        """Those right in a folder, sorted."""
        return sorted(path for path in folder.iterdir() if path.is_file() and self.reads(path))

    def endings(self) -> str:
        """What they are called, for messages."""
        return ", ".join(self.patterns)


class ModelSource(ABC):
    """Where a pretrained model's files come from, and what they were."""

    options_class: ClassVar[type[Any]] = NoOptions
    """The dataclass of `source.options`."""
    needs: ClassVar[tuple[str, ...]] = ()
    """The fields of the settings, among packages, repository, revision and path, that must be given; no other may."""
    local: str | None = None
    """The path of files that lie on this machine already, which the stage must watch for changes."""

    def __init__(self, section: CheckpointSource, options: Any) -> None:
        """Check what the settings say, and their `options` of `options_class`.

        Raises ConfigError where they do not fit the kind; the message begins with the key.
        """
        for field, needed in _NEEDED.items():
            given, must = getattr(section, field), field in self.needs
            empty = "an empty list" if field == "packages" else "null"
            allowed = needed if must else f"{empty} for the kind {section.kind}"
            require(bool(given) == must, f"source.{field}", given, allowed)
        self.section = section
        self.options = options

    @abstractmethod
    def fetch(self, into: Path, downloads: Path) -> None:
        """Bring the model's files, side by side.

        Args:
            into: An existing, empty folder.
            downloads: Where archives of packages are kept by their SHA-256.

        Raises:
            SourceError: The source can't be had, or is not what its checksum says.
            SpaceError: The disk is full.
        """

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What a manifest says about the source: no path of this machine."""


MODEL_SOURCES: Registry[ModelSource] = Registry("model_sources", ModelSource, "langmill.checkpoints", "source.kind")


def build_model_source(section: CheckpointSource, where: str) -> ModelSource:
    """The source that a pretrained model names; `where` is what the section comes from, for messages.

    Raises ConfigError where there is no such kind, or the settings do not fit it.
    """
    return source_of(MODEL_SOURCES, section, where)
