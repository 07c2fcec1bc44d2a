"""A batch of rows, and what cleaning makes of it: the one function that every engine runs."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence

from langmill.config.sections import Cleaning
from langmill.data.cleaning.apply import Cleaned, clean_documents
from langmill.data.cleaning.base import Draft, Learned, Steps, build_steps
from langmill.data.near_duplicates.fingerprints import Fingerprints, fingerprints
from langmill.data.rows import Row

_BATCH_ROWS = 2000
_BATCH_CHARACTERS = 1_000_000
Sent = Sequence[tuple[str, str | None, Mapping[str, str]]]
"""Text, target and metadata of each row: quicker to send to another process than objects."""
CleanedBatch = tuple[list[Cleaned], Fingerprints]
"""What each row has become, and what those that stay are compared by."""


class BatchCleaner:
    """Cleans batches; made once in each process that does.

    Args:
        cleaning: The settings.
        where: What they come from, for messages.
        learned: What the steps have learned; None has them learn.
    """

    def __init__(self, cleaning: Cleaning, where: str, learned: Learned | None = None) -> None:
        self._cleaning, self._where, self._learned = cleaning, where, learned

    @functools.cached_property
    def _steps(self) -> Steps:
        """Built for the first batch: what is wrong with a step comes out there, and no process dies at its start."""
        return build_steps(self._cleaning, self._where, self._learned)

    def __call__(self, batch: Sent) -> CleanedBatch:
        """Clean a batch.

        Raises:
            ConfigError: A step is unknown, its options are refused, or it misses a package.
            DataError: A step can't be built, or fails.
        """
        drafts = [Draft(text, target, metadata) for text, target, metadata in batch]
        cleaned = clean_documents(drafts, self._steps, self._cleaning.fold)
        kept = [one.dropped is None for one in cleaned]
        texts = [one.text if stays else "" for one, stays in zip(cleaned, kept, strict=True)]
        targets = [one.target if stays else None for one, stays in zip(cleaned, kept, strict=True)]
        return cleaned, fingerprints(texts, targets, self._cleaning)


def batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Rows in their order, in batches of a bounded size."""
    batch: list[Row] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += len(row.text) + len(row.target or "")
        if len(batch) == _BATCH_ROWS or size >= _BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def sent(rows: Iterable[Row]) -> Sent:
    """What of a batch of rows is cleaned."""
    return [(row.text, row.target, row.metadata) for row in rows]
