"""What a corpus's steps make of documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from langmill.config.core_yaml import as_written
from langmill.config.sections import Folding
from langmill.data.cleaning.base import CleaningStep, Draft, Dropped, Steps
from langmill.data.folding import key_of, pair_key_of
from langmill.errors import DataError, LangmillError

_EXCERPT = 60


class DropReason(StrEnum):
    """Why a document is left out of the corpus, beside the reasons that steps give."""

    empty = "empty"
    """No text is left of it."""
    duplicate = "duplicate"
    """Another document reads alike, and so does its target."""
    near_duplicate = "near_duplicate"
    """Another document says nearly the same, and so does its target."""
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
    removed_lines: tuple[str, ...] = ()
    """Lines that steps took out as boilerplate, once for each time."""
    score: float | None = None
    """What the step that dropped it measured, if it says."""
    detail: str | None = None
    """What that step took it for, if it says."""


def clean_documents(documents: Sequence[Draft], steps: Steps, folding: Folding = Folding.text) -> list[Cleaned]:
    """Take each document through the steps, until one drops it or nothing is left of its text.

    Args:
        documents: Any number of them; what becomes of one does not depend on the others.
        steps: The steps, in their order.
        folding: What makes no difference to the keys (`cleaning.fold`).

    Raises:
        DataError: A step fails on a document; the message names the step and the document's beginning.
    """
    drafts = list(documents)
    changes: list[tuple[tuple[str, tuple[str, ...]], ...]] = [()] * len(drafts)
    removed: dict[int, tuple[str, ...]] = {}
    dropped: dict[int, tuple[str, Dropped]] = {}
    going = list(range(len(drafts)))  # those that are neither dropped nor empty
    for name, step in steps.items():
        going = [place for place in going if (text := drafts[place].text) and not text.isspace()]
        if not going:
            break
        before = [drafts[place] for place in going]
        lost = False
        for place, document, after in zip(going, before, _stepped(step, name, before), strict=True):
            if after is document:
                continue
            if isinstance(after, Dropped):
                dropped[place] = (name, after)
                lost = True
            elif after != document:
                changes[place] += ((name, after.changes),)
                if after.removed_lines:
                    removed[place] = removed.get(place, ()) + after.removed_lines
                kept = after.changes or after.removed_lines
                drafts[place] = after._replace(changes=(), removed_lines=()) if kept else after
        if lost:
            going = [place for place in going if place not in dropped]
    return [
        _cleaned(document, folding, dropped.get(place), changes[place], removed.get(place, ()))
        for place, document in enumerate(drafts)
    ]


def _cleaned(
    document: Draft,
    folding: Folding,
    dropped: tuple[str, Dropped] | None,
    changes: tuple[tuple[str, tuple[str, ...]], ...],
    removed_lines: tuple[str, ...],
) -> Cleaned:
    text, target, metadata = document[:3]
    reason, dropped_by, score, detail = None, None, None, None
    if dropped is not None:
        dropped_by, loss = dropped
        reason, score, detail = loss.reason, loss.score, loss.detail
    if not text or text.isspace():
        text, reason = "", reason or DropReason.empty
    if target is not None and (not target or target.isspace()):
        target = None
    key = key_of(text, folding)
    pair_key = key if target is None else pair_key_of(key, key_of(target, folding))
    return Cleaned(text, target, metadata, reason, dropped_by, changes, key, pair_key, removed_lines, score, detail)


def _stepped(step: CleaningStep, name: str, documents: Sequence[Draft]) -> Sequence[Draft | Dropped]:
    """What a step makes of each document.

    Raises DataError where it fails, or gives something else than a document or a reason for each.
    """
    try:
        made = step.clean_batch(documents)
        if len(made) == len(documents) and all(isinstance(one, (Draft, Dropped)) for one in made):
            return made
        failure: Exception = TypeError("it gives something else than one draft or one Dropped for each document")
    except LangmillError:
        raise
    except Exception as error:
        failure = error
    for document in documents:  # the one that it fails on; a step that fails on many at once alone names the first
        try:
            alone = step.clean_batch([document])
            if len(alone) != 1 or not isinstance(alone[0], (Draft, Dropped)):
                break
        except Exception as error:
            failure = error
            break
    else:
        document = documents[0]
    raise DataError(
        f"The cleaning step {name} fails ({type(failure).__name__}: {failure}) on the document that begins "
        f"{as_written(document.text[:_EXCERPT])}; mend the step, or take it out of cleaning.steps.",
        "failed",
    ) from failure
