"""Computing in threads what is taken one after the other: for numpy, which lets go of Python's lock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


def computed_ahead(function: Callable[[ItemT], ResultT], items: Iterable[ItemT], threads: int) -> Iterator[ResultT]:
    """Yield `function` of each item, in their order; a few are computed while the caller is busy with one.

    `Executor.map` would read all items at once.

    Args:
        function: What to compute; called in several threads, but with one thread in the caller's.
        items: What from; read in the caller's thread, up to two a thread ahead.
        threads: How many compute.
    """
    if threads == 1:
        yield from map(function, items)
        return
    under_way: deque[Future[ResultT]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            under_way.append(pool.submit(function, item))
            if len(under_way) > 2 * threads:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
