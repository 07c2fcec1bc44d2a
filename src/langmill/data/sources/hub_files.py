"""Files of a commit on the Hugging Face hub, by way of the hub's own cache."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from langmill.errors import SourceError, SourceUnreachableError, SpaceError
from langmill.files import full_disk_sentence, is_full_disk
from langmill.progress import track

logger = logging.getLogger(__name__)


def snapshot(
    repository: str,
    revision: str,
    patterns: Sequence[str],
    *,
    without: str,
    kind: Literal["model", "dataset"] = "model",
) -> Path:
    """The folder of a commit in the hub's own cache, with the files of these names, fetched if need be.

    Files are fetched and nothing else: no code of the repository runs.

    Args:
        repository: Its name, as in `openai-community/gpt2`.
        revision: The commit.
        patterns: Names of files, or patterns with `*`.
        without: What a person can do whom the hub does not answer, for the message.
        kind: Which repository of this name.

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
        with track(f"Fetching {repository}", 1, kind.replace("dataset", "data set")) as progress:
            found = snapshot_download(repository, revision=revision, repo_type=kind, allow_patterns=list(patterns))
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
            f"{title} can't be fetched: the Hugging Face hub does not answer, and this machine's cache of it lacks the "
            f"files. Connect, or {without}."
        ) from error
    return Path(found)
