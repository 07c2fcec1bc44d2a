"""What a corpus's steps make of one document."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from langmill.config.core_yaml import as_written
from langmill.data.cleaning.base import Draft, Dropped, Steps
from langmill.data.folding import key_of, pair_key_of
from langmill.errors import DataError, LangmillError

_EXCERPT = 60


class DropReason(StrEnum):
    """Why a document is left out of the corpus, beside the reasons that steps give."""

    empty = "empty"
    """No text is left of it."""
    duplicate = "duplicate"
    """Another document reads alike, and so does its target."""
    cross_split = "cross_split"
    """Its text stands in another split too, where `split.by` put it."""


class Cleaned(NamedTuple):  # sent from process to process twice as fast as a dataclass
    """What the steps make of one document."""

    text: str
    target: str | None
    metadata: Mapping[str, str]
    dropped: str | None
    """Why the document is left out, by itself alone (duplicates show only among documents)."""
    dropped_by: str | None
    """The step that dropped it."""
    changes: tuple[tuple[str, tuple[str, ...]], ...]
    """The steps that changed it, each with the kinds of its changes, if it names them."""
    key: bytes
    """Equal for texts that are alike (`folding.key_of`)."""
    pair_key: bytes
    """Equal for documents whose texts and targets are alike."""


def clean_document(document: Draft, steps: Steps) -> Cleaned:
    """Take a document through the steps, until one drops it or nothing is left of its text.

    Raises:
        DataError: A step fails on the document; the message names the step and the document's beginning.
    """
    changes: tuple[tuple[str, tuple[str, ...]], ...] = ()
    reason = dropped_by = name = None
    try:
        for name, step in steps.items():
            if not document.text or document.text.isspace():
                break
            after = step.clean(document)
            if isinstance(after, Dropped):
                reason, dropped_by = after.reason, name
                break
            if after is not document and after != document:
                changes += ((name, after.changes),)
                document = after._replace(changes=()) if after.changes else after
    except LangmillError:
        raise
    except Exception as error:
        raise DataError(
            f"The cleaning step {name} fails ({type(error).__name__}: {error}) on the document that begins "
            f"{as_written(document.text[:_EXCERPT])}; mend the step, or take it out of cleaning.steps.",
            "failed",
        ) from error
    text, target, metadata, _ = document
    if not text or text.isspace():
        text, reason = "", reason or DropReason.empty
    if target is not None and (not target or target.isspace()):
        target = None
    key = key_of(text)
    pair_key = key if target is None else pair_key_of(key, key_of(target))
    return Cleaned(text, target, metadata, reason, dropped_by, changes, key, pair_key)
