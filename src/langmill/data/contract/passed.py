"""What the contract stage leaves for those that follow: which documents it let through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from langmill.data.document import Split, documents_path
from langmill.errors import DataError
from langmill.files import digest_of, read_json, write_json

PASSED_NAME = "passed.json"
"""Says of which documents the contract was kept, and nothing else: equal documents give equal bytes, whatever the
contract asked and whatever it measured, so that what depends on this file alone is not made again."""
RESULTS_NAME = "results.json"
"""Every finding; nothing depends on it."""


def documents_digest(manifest: dict[str, Any]) -> str:
    """The digest of a corpus's documents, without its report and what was left out.

    Args:
        manifest: That of the folder of documents.
    """
    names = [documents_path(Path(), split).name for split in Split]
    return digest_of({name: manifest["files"].get(name) for name in names})


def read_note(folder: Path) -> str:
    """What the contract warns of, in one line; nothing where it warns of nothing or was not checked."""
    path = folder / RESULTS_NAME
    return str(read_json(path).get("note", "")) if path.is_file() else ""


def write_passed(folder: Path, corpus: str, manifest: dict[str, Any]) -> None:
    """Write down that a corpus's documents keep its contract."""
    write_json(folder / PASSED_NAME, {"corpus": corpus, "documents": documents_digest(manifest), "passed": True})


def passed_documents(folder: Path) -> str | None:
    """The digest of the documents whose contract was kept last; None where that was never checked.

    Args:
        folder: What the contract stage wrote of the corpus.
    """
    path = folder / PASSED_NAME
    return str(read_json(path).get("documents")) if path.is_file() else None


def require_passed(folder: Path, manifest: dict[str, Any]) -> None:
    """Refuse documents that are not those whose contract was checked last.

    The graph sees to it that it is checked at all: what follows depends on the file. Where there is none, as for a
    stage that someone runs by hand, nothing is refused.

    Args:
        folder: What the contract stage wrote of the corpus.
        manifest: That of the folder of documents.

    Raises:
        DataError: The documents were made again since.
    """
    if passed_documents(folder) not in (None, documents_digest(manifest)):
        raise DataError(
            f"{folder / PASSED_NAME} is not of these documents, so their contract was not checked; "
            f"`dvc repro contract@{folder.name}` does that.",
            "mismatch",
        )
