"""A pretrained model in a repository of the Hugging Face hub."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from langmill.checkpoints.base import MODEL_SOURCES, PLAIN_FILES, CheckpointFiles, ModelSource
from langmill.checkpoints.gguf_file import ENDING
from langmill.config.constraints import Allowed
from langmill.data.sources.local import copy_files
from langmill.errors import SourceError, SourceUnreachableError, SpaceError
from langmill.files import full_disk_sentence, is_full_disk
from langmill.progress import track

logger = logging.getLogger(__name__)


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
        folder = snapshot(str(self.section.repository), str(self.section.revision), patterns)
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


def snapshot(repository: str, revision: str, patterns: tuple[str, ...]) -> Path:
    """The folder of a commit in the hub's own cache, with the files of these names, fetched if need be.

    Raises:
        SourceError: The hub has no such commit, hides it, or does not answer.
        SpaceError: The disk is full.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    title = f"{repository} at {revision[:12]}"
    try:
        with track(f"Fetching {repository}", 1, "model") as progress:
            found = snapshot_download(repository, revision=revision, allow_patterns=list(patterns))
            progress.advance()
    except GatedRepoError as error:
        raise SourceError(
            f"{title} is given to those who accept its terms there and log in with `hf auth login`.",
            "refused",
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise SourceError(
            f"The hub has no {title}, or hides it; check the repository's name and the commit, or log in.",
            "unknown",
        ) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        logger.error("The hub did not bring %s", title, exc_info=error)
        if is_full_disk(error):
            raise SpaceError(full_disk_sentence(f"the download of {title}")) from error
        raise SourceUnreachableError(
            f"{title} can't be fetched: the Hugging Face hub does not answer, and this machine's cache of it "
            "lacks the files. Connect, or put the model's files into a folder and begin with that: `langmill new "
            "pretrained NAME --from FOLDER`."
        ) from error
    return Path(found)
