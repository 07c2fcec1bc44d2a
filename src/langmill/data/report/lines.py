"""The most frequent of many lines, in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

_DISTINCT = 100_000  # lines remembered
_CHARACTERS = 200  # of a line
_SHOWN = 30


class FrequentLines:
    """Counts lines; of more different ones than fit, the rarest are forgotten.

    A line's count is then a lower bound, and misses at most `missed` (Manku and Motwani, Approximate frequency counts
    over data streams, VLDB 2002).

    Attributes:
        total: All lines.
        missed: By how much a count may be too low.
    """

    def __init__(self, distinct: int = _DISTINCT) -> None:
        self.total = self.missed = 0
        self._distinct = distinct
        self._counts: Counter[str] = Counter()

    def add(self, lines: Iterable[str]) -> None:
        """Count lines."""
        for line in lines:
            self.total += 1
            self._counts[line[:_CHARACTERS]] += 1
        if len(self._counts) > self._distinct:
            ranked = self._ranked()
            kept = ranked[: self._distinct // 2]
            self.missed += ranked[len(kept)][1]
            self._counts = Counter(dict(kept))

    def _ranked(self) -> list[tuple[str, int]]:
        return sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))

    def most_frequent(self) -> list[tuple[str, int]]:
        """The most frequent lines with their counts."""
        return self._ranked()[:_SHOWN]
