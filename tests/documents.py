"""Documents as the cleaning stage writes them, for tests of what comes after it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from langmill.data.document import Document, DocumentWriter


def write_documents(path: Path, documents: Iterable[Document]) -> None:
    """Write the documents of a split."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with DocumentWriter(path) as writer:
        for document in documents:
            writer.write(document)
