"""How far scoring is and how fast a model writes: shown to people, logged to the run, and in no output of a stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol


class Advance(Protocol):
    """Shows that so many more documents are done, with a note."""

    def __call__(self, amount: float = 1, note: str | None = None) -> None:
        """Show it."""


class Pace:
    """Told of the documents that are done and the tokens that are written; called with a number of documents.

    Attributes:
        advance: Shows that so many more documents are done.
        tokens: Tokens of the texts written so far.
        seconds: What writing them took, those that were written twice included.
    """

    def __init__(self, advance: Advance) -> None:
        self.advance = advance
        self.tokens = 0
        self.seconds = 0.0

    @classmethod
    def of(cls, progress: Callable[[int], None] | None) -> Pace:
        """What was given as a scorer's `progress`, as a pace."""
        if isinstance(progress, Pace):
            return progress

        def advance(amount: float = 1, note: str | None = None) -> None:
            del note
            if progress is not None:
                progress(int(amount))

        return cls(advance)

    def __call__(self, documents: int) -> None:
        """Show that so many more documents are done."""
        speed = self.tokens_per_second
        self.advance(documents, None if speed is None else f"{speed:,.0f} tokens/s written")

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens written in a second, of all texts that are written side by side; None where nothing was written."""
        return self.tokens / self.seconds if self.tokens and self.seconds else None

    @contextmanager
    def timed(self) -> Iterator[list[int]]:
        """Measure the time of what is done in between; whoever does it puts the tokens of each text into the list."""
        lengths: list[int] = []
        began = time.perf_counter()
        yield lengths
        self.seconds += time.perf_counter() - began
        self.tokens += sum(lengths)
