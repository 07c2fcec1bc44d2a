"""A pretrained model in a repository of the Hugging Face hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from langmill.checkpoints.base import MODEL_SOURCES, PLAIN_FILES, CheckpointFiles, ModelSource
from langmill.checkpoints.gguf_file import ENDING
from langmill.config.constraints import Allowed
from langmill.data.sources.hub_files import snapshot
from langmill.data.sources.local import copy_files
from langmill.errors import SourceError

_WITHOUT = "put the model's files into a folder and begin with that: `langmill new pretrained NAME --from FOLDER`"


def _inside(path: str) -> bool:
    return path.endswith(ENDING) and not path.startswith("/") and ".." not in path.split("/")


@dataclass
class HubOptions:
    """The options of the source `hub`."""

    file: Annotated[str, Allowed("a path inside the repository that ends in .gguf", _inside)] | None = None
    """The file to take, where the repository has a model in several GGUF files (`model-Q4_K_M.gguf`); null takes what
    transformers reads."""


@MODEL_SOURCES.register("hub")
class HubModel(ModelSource):
    """A commit of a repository, by way of the hub's own cache."""

    options_class = HubOptions
    needs = ("repository", "revision")
    options: HubOptions

    def fetch(self, into: Path, downloads: Path) -> None:
        """Fill the hub's cache if need be, and copy the files out of it."""
        del downloads
        patterns = PLAIN_FILES if self.options.file is None else (self.options.file,)
        folder = snapshot(str(self.section.repository), str(self.section.revision), patterns, without=_WITHOUT)
        files = [folder / self.options.file] if self.options.file else CheckpointFiles(PLAIN_FILES).files(folder)
        if self.options.file and not files[0].is_file():
            title = f"{self.section.repository} at {str(self.section.revision)[:12]}"
            raise SourceError(f"{title} has no file {self.options.file}; look there for its name.", "missing")
        copy_files({Path(file.name): file for file in files}, str(self.section.repository), into)

    def facts(self) -> dict[str, Any]:
        """The repository and its commit."""
        section = self.section
        facts = {"kind": section.kind, "repository": section.repository, "revision": section.revision}
        return facts | ({"file": self.options.file} if self.options.file else {})
