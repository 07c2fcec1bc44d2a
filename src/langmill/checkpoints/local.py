"""A pretrained model that is on this machine already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from langmill.checkpoints.base import MODEL_SOURCES, CheckpointFiles, ModelSource
from langmill.config.sections import CheckpointSource
from langmill.data.sources.local import copy_files
from langmill.errors import SourceError


@MODEL_SOURCES.register("files")
class LocalModel(ModelSource):
    """A folder as `transformers` saves it, or a GGUF file."""

    needs = ("path",)

    def __init__(self, section: CheckpointSource, options: Any) -> None:
        super().__init__(section, options)
        self.local = section.path

    def fetch(self, into: Path, downloads: Path) -> None:
        """Copy the files."""
        del downloads
        path, wanted = Path(str(self.local)), CheckpointFiles()
        if not path.exists():
            raise SourceError(
                f"{path}, the pretrained model's source.path, does not exist; paths start at the workspace's root.",
                "missing",
            )
        if path.is_file() and not wanted.reads(path):
            raise SourceError(
                f"{path}, the pretrained model's source.path, is no model; name a .gguf file, or a folder that "
                "transformers has saved.",
                "unreadable",
            )
        files = wanted.files(path) if path.is_dir() else [path]
        copy_files({Path(file.name): file for file in files}, path.name, into)

    def facts(self) -> dict[str, Any]:
        """The folder's or file's name."""
        return {"kind": self.section.kind, "name": Path(str(self.local)).name}
