"""Whether work takes time that grows with a text and not with its square: times of two sizes, compared."""

from __future__ import annotations

import time
from collections.abc import Callable

SMALL, LARGE = 2_000, 8_000
# Of the square the ratio is 16, of what is linear 4; what is over in a few milliseconds is not judged.
RATIO, FLOOR = 8.0, 0.003


def seconds(work: Callable[[str], object], text: str, repeats: int) -> float:
    taken = []
    for _ in range(repeats):
        started = time.process_time()
        work(text)
        taken.append(time.process_time() - started)
    return min(taken)


def require_linear(work: Callable[[str], object], make: Callable[[int], str]) -> None:
    if seconds(work, make(LARGE), 1) > FLOOR:
        large, small = seconds(work, make(LARGE), 3), seconds(work, make(SMALL), 3)
        assert large < RATIO * small + FLOOR, f"{large:.3f} s, {small:.3f} s for a quarter of {make(60)!r}"
