"""Documents before and after each step of cleaning: a few of those that it changed or dropped, the same ones each time.

While a corpus is cleaned, only the rows are kept that the samples are of. At the end they go through the steps once
more, which gives the same, since a step is a pure function of its document.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple
from zlib import crc32

from langmill.config.sections import Cleaning
from langmill.data.cleaning.apply import Cleaned
from langmill.data.cleaning.base import Draft, Dropped, Steps, build_steps
from langmill.data.rows import Row

PRIVACY = "privacy"
"""The step that takes out personal data; no sample shows any."""
_SAMPLES = 5  # of each step, of what it changed and of what it dropped
_LONGEST = 100_000  # characters of a document that is a sample
_BEFORE = 80  # characters shown before the first difference, and after the last
_SHOWN = 360  # characters shown of a text


class _Candidate(NamedTuple):
    draw: int
    where: str
    text: str
    target: str | None
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class StepSample:
    """What a step made of a document."""

    where: str
    """The row's place."""
    before: str | None
    """The text as the steps before left it, cut to where it changes; None where it must not be shown."""
    after: str | None
    """The text as the step left it, cut in the same way; None of a document that it dropped."""
    reason: str | None
    """Why it dropped it."""
    metadata: Mapping[str, str]
    """What the step added to the document's metadata."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "where": self.where,
            "before": self.before,
            "after": self.after,
            "reason": self.reason,
            "metadata": dict(self.metadata),
        }


class StepSamples:
    """Draws documents of each step by a hash of their content: the same ones, in whatever order they come."""

    def __init__(self) -> None:
        self._heaps: dict[tuple[str, bool], list[_Candidate]] = {}

    def offer(self, row: Row, cleaned: Cleaned) -> None:
        """Look at a document that went through the steps."""
        if len(row.text) > _LONGEST:
            return
        content = int.from_bytes(cleaned.key[:8])
        for step, _ in cleaned.changes:
            self._draw(step, False, row, content)
        if cleaned.dropped_by is not None:
            self._draw(cleaned.dropped_by, True, row, content)

    def _draw(self, step: str, dropped: bool, row: Row, content: int) -> None:
        draw = content ^ crc32(step.encode()) << 32
        heap = self._heaps.setdefault((step, dropped), [])
        if len(heap) == _SAMPLES and draw < heap[0].draw:
            return
        candidate = _Candidate(draw, row.where, row.text, row.target, row.metadata)
        for place, one in enumerate(heap):
            if one.draw == draw:  # of those that end up alike one is enough, the same one in any order
                heap[place] = min(one, candidate, key=lambda each: (each.text, each.where))
                return
        if len(heap) < _SAMPLES:
            heapq.heappush(heap, candidate)
        else:
            heapq.heapreplace(heap, candidate)

    def taken(self, steps: Steps) -> dict[str, dict[str, list[StepSample]]]:
        """Take the samples through the steps.

        Args:
            steps: Those that the documents went through.

        Returns:
            Under each step's name the samples that it `changed` and `dropped`.
        """
        shown = redaction(steps)
        found: dict[str, dict[str, list[StepSample]]] = {}
        for name in steps:
            for kind, dropped in (("changed", False), ("dropped", True)):
                candidates = sorted(self._heaps.get((name, dropped), ()), reverse=True)
                samples = [_through(one, name, steps, shown) for one in candidates]
                if candidates:
                    found.setdefault(name, {})[kind] = [sample for sample in samples if sample is not None]
        return found


def redaction_of(cleaning: Cleaning, where: str) -> Callable[[str], str]:
    """The same as `redaction`, for texts that the corpus's own step has not seen, by its settings.

    Args:
        cleaning: How the corpus is cleaned.
        where: The file of its settings, for errors.
    """
    options = {name: cleaning.options[name] for name in cleaning.steps if name == PRIVACY}
    return redaction(build_steps(replace(cleaning, steps=list(options), options=options), where))


def redaction(steps: Steps) -> Callable[[str], str]:
    """What makes a text of a corpus fit to be shown: the step that takes out personal data, where the corpus has it."""
    privacy = steps.get(PRIVACY)
    if privacy is None:
        return lambda text: text

    def redacted(text: str) -> str:
        if not text or text.isspace():
            return text
        (made,) = privacy.clean_batch([Draft(text)])
        return f"(left out: {made.reason})" if isinstance(made, Dropped) else made.text

    return redacted


def _through(candidate: _Candidate, wanted: str, steps: Steps, shown: Callable[[str], str]) -> StepSample | None:
    """A document at the step; None if it comes to another end this time, as with a step of others that is not pure."""
    draft = Draft(candidate.text, candidate.target, candidate.metadata)
    for name, step in steps.items():
        (after,) = step.clean_batch([draft])
        if isinstance(after, Dropped):
            if name != wanted:
                return None
            before, _ = windows(shown(draft.text), "")
            return StepSample(candidate.where, before, None, after.reason, {})
        if name == wanted:
            return _changed(candidate.where, name, draft, after, shown)
        draft = after
    return None


def _changed(where: str, step: str, before: Draft, after: Draft, shown: Callable[[str], str]) -> StepSample:
    added = {key: value for key, value in after.metadata.items() if before.metadata.get(key) != value}
    pair = (before.text, after.text)
    if before.text == after.text and before.target != after.target:
        pair = (before.target or "", after.target or "")
    if step == PRIVACY:  # what it found is not shown, nor where in the text before
        return StepSample(where, None, windows(*pair)[1], None, added)
    return StepSample(where, *windows(shown(pair[0]), shown(pair[1])), None, added)


def windows(before: str, after: str, context: int = _BEFORE, longest: int = _SHOWN) -> tuple[str, str]:
    """The parts of two texts around what differs between them, with an ellipsis where something is cut off.

    Args:
        before: The one text.
        after: The other; where it is empty or the same, the texts' beginnings are taken.
        context: Characters before the first difference and after the last.
        longest: Characters of each part.
    """
    most = min(len(before), len(after))
    same = _alike(before, after, most)
    tail = _alike(before[::-1], after[::-1], most - same)
    start = max(0, same - context)
    if before == after or not after:
        start = 0
    ends = (min(len(text), start + longest, len(text) - tail + context) for text in (before, after))
    one, other = (_cut(text, start, end) for text, end in zip((before, after), ends, strict=True))
    return one, other


def _alike(one: str, other: str, most: int) -> int:
    """How many of the first `most` characters are the same."""
    return next((place for place in range(most) if one[place] != other[place]), most)


def _cut(text: str, start: int, end: int) -> str:
    return f"{'…' * (start > 0)}{text[start:end]}{'…' * (end < len(text))}"
