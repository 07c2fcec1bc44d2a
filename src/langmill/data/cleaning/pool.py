"""Cleaning in several processes.

Cleaning a document is a pure function of it, so batches are cleaned side by side and come back in their order: the
number of workers has no influence on the result.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker

from langmill.config.sections import Cleaning, Folding
from langmill.data.cleaning.apply import Cleaned, clean_documents
from langmill.data.cleaning.base import CleaningStep, Draft, Steps, build_steps, check_steps
from langmill.data.rows import Row
from langmill.errors import DataError

_BATCH_ROWS = 2000
_BATCH_CHARACTERS = 1_000_000
_Batch = Sequence[tuple[str, str | None, Mapping[str, str]]]  # text, target and metadata: quicker to send than objects
_own_steps: dict[str, CleaningStep] = {}
"""The steps of this process, if it is a worker."""


def clean_rows(rows: Iterable[Row], cleaning: Cleaning, where: str) -> Iterator[tuple[Row, Cleaned]]:
    """Clean rows in their order, in `cleaning.workers` processes if there are enough of them to be worth it.

    Args:
        rows: What to clean; read only a few batches ahead.
        cleaning: The settings.
        where: What they come from, for messages.

    Raises:
        ConfigError: A step is unknown, or its options are refused.
        DataError: A step fails, or a process was killed.
    """
    check_steps(cleaning, where)
    batches = _batches(rows)
    first = list(itertools.islice(batches, 2))
    if cleaning.workers == 1 or len(first) < 2:
        steps = build_steps(cleaning, where)
        for batch in itertools.chain(first, batches):
            yield from zip(batch, _clean(_sent(batch), cleaning.fold, steps), strict=True)
        return
    # Started afresh, not forked: a fork copies the locks of threads that it does not copy.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(cleaning.workers, context, initializer=_begin_worker, initargs=(cleaning, where))
    under_way: deque[tuple[list[Row], Future[list[Cleaned]]]] = deque()
    try:
        with _interrupts_held_back():
            for _ in range(cleaning.workers):  # the pool starts a process for each piece of work while none is idle
                pool.submit(int)
        for batch in itertools.chain(first, batches):
            under_way.append((batch, pool.submit(_clean, _sent(batch), cleaning.fold)))
            if len(under_way) > 2 * cleaning.workers:
                done, future = under_way.popleft()
                yield from zip(done, future.result(), strict=True)
        for done, future in under_way:
            yield from zip(done, future.result(), strict=True)
    except BrokenProcessPool as error:
        raise DataError(
            "A process that cleans was killed, most likely for want of memory; lower cleaning.workers.",
            "failed",
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _clean(batch: _Batch, folding: Folding, steps: Steps = _own_steps) -> list[Cleaned]:
    return clean_documents([Draft(text, target, metadata) for text, target, metadata in batch], steps, folding)


def _sent(rows: Iterable[Row]) -> _Batch:
    return [(row.text, row.target, row.metadata) for row in rows]


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


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
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


def _begin_worker(cleaning: Cleaning, where: str) -> None:
    """Build the steps, and end when the parent ends, however it ends."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
    _own_steps.update(build_steps(cleaning, where))
