"""Cleaning in several processes.

Cleaning a document is a pure function of it, so batches are cleaned side by side and come back in their order: the
number of workers has no influence on the result.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker

from langmill.config.sections import Cleaning, Engine
from langmill.data.cleaning.base import check_steps
from langmill.data.cleaning.batches import BatchCleaner, CleanedBatch, Sent, batches, sent
from langmill.data.cleaning.on_ray import clean_on_ray
from langmill.data.rows import Row
from langmill.errors import DataError

COLLECT_EVERY = 50_000
"""Objects between two looks of the garbage collector where rows go through; Python's default is 700."""
_own_cleaner: list[BatchCleaner] = []
"""What cleans in this process, if it is a worker."""


def clean_batches(rows: Iterable[Row], cleaning: Cleaning, where: str) -> Iterator[tuple[list[Row], CleanedBatch]]:
    """Clean rows in their order, in `cleaning.workers` processes if there are enough of them to be worth it.

    Args:
        rows: What to clean; read only a few batches ahead.
        cleaning: The settings; `cleaning.engine` runs the batches on Ray instead.
        where: What they come from, for messages.

    Raises:
        ConfigError: A step is unknown, or its options are refused.
        DataError: A step fails, or a process was killed.
    """
    check_steps(cleaning, where)
    waiting = batches(rows)
    first = list(itertools.islice(waiting, 2))
    together = itertools.chain(first, waiting)
    if cleaning.engine is Engine.ray and first:
        yield from clean_on_ray(together, cleaning, where)
        return
    if cleaning.workers == 1 or len(first) < 2:
        clean = BatchCleaner(cleaning, where)
        for batch in together:
            yield batch, clean(sent(batch))
        return
    # Started afresh, not forked: a fork copies the locks of threads that it does not copy.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(cleaning.workers, context, initializer=_begin_worker, initargs=(cleaning, where))
    under_way: deque[tuple[list[Row], Future[CleanedBatch]]] = deque()
    try:
        with _interrupts_held_back():
            for _ in range(cleaning.workers):  # the pool starts a process for each piece of work while none is idle
                pool.submit(int)
        for batch in together:
            under_way.append((batch, pool.submit(_clean, sent(batch))))
            if len(under_way) > 2 * cleaning.workers:
                done, future = under_way.popleft()
                yield done, future.result()
        for done, future in under_way:
            yield done, future.result()
    except BrokenProcessPool as error:
        raise DataError(
            "A process that cleans was killed, most likely for want of memory; lower cleaning.workers.",
            "failed",
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _clean(batch: Sent) -> CleanedBatch:
    return _own_cleaner[0](batch)


@contextlib.contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Let Ctrl-C wait until the block ends, and keep it for good from the processes that are started in it.

    They inherit what is held back. A terminal sends Ctrl-C to them too, and before `_begin_worker` is reached each
    would die of it with a stack trace.
    """
    resource_tracker.ensure_running()  # else the first start of a process lets Ctrl-C through again
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _begin_worker(cleaning: Cleaning, where: str) -> None:
    """Build the steps, and end when the parent ends, however it ends."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
    gc.set_threshold(COLLECT_EVERY)
    _own_cleaner.append(BatchCleaner(cleaning, where))
