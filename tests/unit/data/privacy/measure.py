"""Precision and recall of what finds personal data, by kind."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple, Protocol

from langmill.data.cleaning.detectors.base import Found
from tests.unit.data.privacy.personal_data import MAKERS, Sample, lookalikes, samples


class Finds(Protocol):
    """A `Finder`, or a program beside it."""

    @property
    def kinds(self) -> list[str]: ...

    def find(self, text: str) -> list[Found]: ...


class Quality(NamedTuple):
    """How well one kind is found."""

    values: int
    """Values in the texts."""
    recall: float
    """Share of the values that are found from their first to their last character, as whatever kind."""
    precision: float
    """Share of what is said to be of the kind that is."""
    wrong: list[str]
    """Some of what was taken for it."""
    missed: list[str]
    """Some of what was not found."""


def measured(finder: Finds, *, positives: int, negatives: int, seed: int = 0) -> dict[str, Quality]:
    """Measure on texts of each kind that the finder looks for, and on lookalikes.

    Args:
        finder: What finds.
        positives: Texts for each kind.
        negatives: Texts with nothing to find.
        seed: Another one gives other texts.
    """
    right, said, whole = Counter[str](), Counter[str](), Counter[str]()
    wrong: dict[str, list[str]] = {kind: [] for kind in finder.kinds}
    missed: dict[str, list[str]] = {kind: [] for kind in finder.kinds}
    kinds = [kind for kind in MAKERS if kind in finder.kinds]
    for sample in [one for kind in kinds for one in samples(kind, positives, seed)] + lookalikes(negatives, seed):
        start, end = _place(sample)
        covered = False
        for one in finder.find(sample.text):
            said[one.kind] += 1
            overlaps = sample.kind is not None and one.start < end and one.end > start
            covered |= overlaps and one.start <= start and one.end >= end
            if overlaps and one.kind == sample.kind:
                right[one.kind] += 1
            else:
                wrong[one.kind].append(sample.text)
        if sample.kind is not None:
            whole[sample.kind] += covered
            if not covered:
                missed[sample.kind].append(sample.text)
    return {
        kind: Quality(
            positives,
            whole[kind] / positives,
            right[kind] / said[kind] if said[kind] else 1.0,
            wrong[kind],
            missed[kind],
        )
        for kind in kinds
    }


def _place(sample: Sample) -> tuple[int, int]:
    start = sample.text.index(sample.value)
    return start, start + len(sample.value)
