"""The thread that runs the models, and the way to it from the event loop.

One thread owns all forward passes. It takes jobs from a bounded queue and gives up to `max_running` of them to workers
(`langmill.serving.workers`), which take turns: one forward pass each, for all the jobs that it can serve. Jobs join and
leave between two turns.

A job holds the `LoadedVersion` it was made for. A swap puts another one in its place for requests to come; the old one
is freed when its last job lets go of it.
"""

from __future__ import annotations

import logging
import math
import sys
import threading
import time
from collections import deque
from collections.abc import Hashable
from typing import Any, Self
from weakref import WeakKeyDictionary

import torch

from langmill.config.sections import Serving
from langmill.errors import RequestError
from langmill.serving.generation import Completion
from langmill.serving.jobs import BatchJob, EventT, Job, LoadedVersion, ResponseStream
from langmill.serving.metrics import Metrics
from langmill.serving.searching import Searching
from langmill.serving.workers import Alone, Decoding, Together, Worker, smoothed

log = logging.getLogger(__name__)
_HOPELESS_SECONDS = 60.0
"""Requests are refused once a step has taken this long; until then they wait, since it may come back."""
_LONGEST_RETRY_SECONDS = 60.0


class Engine:
    """Runs jobs in a thread of its own.

    Args:
        max_running: Jobs that are worked on at once.
        max_waiting: Jobs that wait for that.
        metrics: Where they are counted.
        stalled_seconds: A turn that takes longer counts as a failure.
        max_waiting_tokens: Tokens of the prompts that wait, at most; None for no limit. One prompt may always wait.
        request_seconds: From a job's submission to its end, at most; None for no limit.
        prefill_tokens: Tokens of prompts that are read in a turn, at most; None for no limit.
        prefix_bytes: Memory of each loaded version for keys and values of earlier prompts.
        exact: Whether every text is decoded alone, as `Completion` does where `exact` is asked of it.
    """

    def __init__(
        self,
        max_running: int,
        max_waiting: int,
        metrics: Metrics,
        stalled_seconds: float,
        *,
        max_waiting_tokens: int | None = None,
        request_seconds: float | None = None,
        prefill_tokens: int | None = None,
        prefix_bytes: int = 0,
        exact: bool = False,
    ) -> None:
        self._max_running = max_running
        self._max_waiting = max_waiting
        self._max_waiting_tokens = math.inf if max_waiting_tokens is None else max_waiting_tokens
        self._request_seconds = math.inf if request_seconds is None else request_seconds
        self._prefill_tokens = sys.maxsize if prefill_tokens is None else prefill_tokens
        self._prefix_bytes = prefix_bytes
        self._exact = exact
        self._metrics = metrics
        self._stalled_seconds = stalled_seconds
        self._loaded: dict[str, LoadedVersion] = {}
        self._waiting: deque[ResponseStream[Any]] = deque()
        self._workers: list[Worker] = []  # those that have something to do
        self._shared: dict[Hashable, Worker] = {}  # of these the ones that further jobs may join
        self._decoding: WeakKeyDictionary[LoadedVersion, Decoding] = WeakKeyDictionary()
        self._running: list[ResponseStream[Any]] = []
        self._seconds_per_job = 0.0  # smoothed
        self._changed = threading.Condition()
        self._stopping = False
        self._draining = False
        self._step_began: float | None = None
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)

    @classmethod
    def of(cls, settings: Serving, metrics: Metrics) -> Self:
        """Make the engine of a server."""
        return cls(
            settings.max_running,
            settings.max_waiting,
            metrics,
            settings.stalled_seconds,
            max_waiting_tokens=settings.max_waiting_tokens,
            request_seconds=settings.request_seconds,
            prefill_tokens=settings.prefill_tokens,
            prefix_bytes=settings.prefix_megabytes * 2**20,
            exact=settings.exact,
        )

    # Loaded versions ------------------------------------------------------------------------------------------------

    def publish(self, loaded: LoadedVersion) -> None:
        """Give all requests to come to this version."""
        self._loaded[loaded.name] = loaded
        self._metrics.version.labels(loaded.name).set(loaded.version)

    def loaded(self, name: str) -> LoadedVersion | None:
        """The version in service, if there is one."""
        return self._loaded.get(name)

    # Life ------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()
        # Read when the metrics are: they change several times with every request.
        self._metrics.engine_up.set_function(lambda: self._thread.is_alive() and self.failure() is None)
        self._metrics.waiting.set_function(lambda: len(self._waiting))
        self._metrics.running.set_function(lambda: len(self._running))

    def drain(self) -> None:
        """Accept nothing more; what was accepted is still done."""
        with self._changed:
            self._draining = True

    def stop(self) -> None:
        """Break off what is running and end the thread."""
        with self._changed:
            self._draining = self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout=_HOPELESS_SECONDS)

    @property
    def draining(self) -> bool:
        """Whether the server is on its way out."""
        return self._draining

    @property
    def load(self) -> int:
        """Requests that are being worked on or wait."""
        return len(self._running) + len(self._waiting)

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""
        return len(self._waiting)

    def failure(self) -> str | None:
        """Why the engine can't answer, in a sentence; None when all is well, or when it was stopped."""
        return self._failure(self._stalled_seconds)

    def _failure(self, seconds: float) -> str | None:
        if self._stopping:
            return None
        if not self._thread.is_alive():
            return "The thread that runs the models has ended; restart the server and read its log."
        began = self._step_began
        if began is not None and time.monotonic() - began > seconds:
            return f"The model has not come back for {time.monotonic() - began:.0f} s; restart the server."
        return None

    # Requests --------------------------------------------------------------------------------------------------------

    def submit(self, job: Job[EventT]) -> ResponseStream[EventT]:
        """Queue a job; call it in an event loop.

        Raises RequestError where too many are waiting, the server is stopping, or the engine is dead (all 503).
        """
        if failure := self._failure(_HOPELESS_SECONDS):
            raise RequestError(failure, 503, code="engine_dead")
        stream = ResponseStream(job)
        with self._changed:
            if self._draining:
                raise RequestError("The server is stopping; ask another one.", 503, code="stopping")
            self._waiting = deque(waiting for waiting in self._waiting if not waiting.cancelled)
            if full := self._full(job.prompt_tokens):
                self._metrics.refused.inc()
                raise RequestError(
                    f"{full}; try again in a moment.", 503, code="overloaded", retry_after=self._retry_after()
                )
            self._waiting.append(stream)
            self._changed.notify_all()
        return stream

    def _full(self, prompt_tokens: int) -> str | None:
        """Why no further job is taken, in words; None where one is. The caller holds the lock until it is queued."""
        num_waiting = len(self._waiting)
        if num_waiting >= self._max_waiting + max(0, self._max_running - len(self._running)):
            return f"{num_waiting} requests are already waiting"
        tokens = sum(stream.job.prompt_tokens for stream in self._waiting if stream.job is not None)
        if num_waiting and tokens + prompt_tokens > self._max_waiting_tokens:
            return f"Prompts of {tokens} tokens are already waiting"
        return None

    def _retry_after(self) -> float:
        """Seconds until about one of the jobs is done."""
        seconds = self._seconds_per_job * (1 + len(self._waiting) / (4 * self._max_running))
        return min(_LONGEST_RETRY_SECONDS, max(1.0, seconds))

    # The thread ------------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        reason: BaseException = RequestError("The server stopped before the answer was complete.", 503, code="stopping")
        try:
            with torch.inference_mode():
                while self._admit():
                    for worker in self._workers:
                        self._drop_what_is_over(worker)
                        if worker.streams:
                            self._step_began = time.monotonic()
                            worker.turn()
                            self._step_began = None
                        served = self._running
                        self._retire()  # first: whoever hears of an end finds room
                        ResponseStream.deliver(served)
        except BaseException as error:
            log.exception("The engine's thread has died")
            reason = RequestError(f"The engine died ({type(error).__name__}); read the server's log.", 500)
        finally:
            with self._changed:
                self._draining = True
                left = [*(stream for worker in self._workers for stream in worker.streams), *self._waiting]
                for stream in left:
                    stream.put(reason)
                ResponseStream.deliver(left)
                self._workers.clear()
                self._shared.clear()
                self._decoding.clear()
                self._waiting.clear()
                self._running.clear()

    def _admit(self) -> bool:
        """Take waiting requests in; wait while there is nothing to do. False when it is time to end."""
        with self._changed:
            if self._workers and not self._waiting and not self._stopping:
                return True
            while not (self._waiting or self._workers or self._stopping):
                self._changed.wait()
            if self._stopping:
                return False
            while self._waiting and len(self._running) < self._max_running:
                stream = self._waiting.popleft()
                job, stream.job = stream.job, None  # the worker holds the job; nothing else needs it
                if stream.cancelled or job is None:
                    self._metrics.cancelled.inc()
                elif self._is_late(stream):
                    stream.put(self._too_late())
                    ResponseStream.deliver([stream])
                else:
                    self._worker_of(job).add(stream, job)
                    self._running.append(stream)
            return True

    def _worker_of(self, job: Job[Any]) -> Worker:
        """The worker that a job joins, among those that have something to do from now on."""
        worker: Worker
        if isinstance(job, Completion) and job.joins and not self._exact:
            worker = self._decoding_of(job)
        elif isinstance(job, Completion) and job.search_key is not None and not self._exact:
            worker = self._searching_of(job)
        elif isinstance(job, BatchJob):
            worker = self._shared.setdefault(job.group_key, Together())
        else:
            worker = Alone()
        if worker not in self._workers:
            self._workers.append(worker)
        return worker

    def _decoding_of(self, job: Completion) -> Decoding:
        """The worker of the job's loaded version, which keeps its memory for as long as somebody has the version."""
        found = self._decoding.get(job.loaded)
        if found is None:
            assert job.network is not None
            found = self._decoding[job.loaded] = Decoding(job.network, self._prefill_tokens, self._prefix_bytes)
        return found

    def _searching_of(self, job: Completion) -> Searching:
        """The worker of searches that have not begun, which this one may join."""
        found = self._shared.get(job.search_key)
        if not isinstance(found, Searching) or not found.takes(job):
            found = self._shared[job.search_key] = Searching(self._prefill_tokens)
        return found

    def _drop_what_is_over(self, worker: Worker) -> None:
        """Drop what nobody waits for any more, and what has taken too long."""
        for stream in list(worker.streams):
            if stream.cancelled:
                self._metrics.cancelled.inc()
                worker.drop(stream)
            elif self._is_late(stream):
                worker.fail(stream, self._too_late())

    def _is_late(self, stream: ResponseStream[Any]) -> bool:
        return time.monotonic() - stream.submitted > self._request_seconds

    def _too_late(self) -> RequestError:
        return RequestError(
            f"The answer was not complete after {self._request_seconds:g} s (serving.request_seconds); ask for less.",
            503,
            code="deadline",
        )

    def _retire(self) -> None:
        """Take note of requests that have ended, and let go of workers without any."""
        running = [stream for worker in self._workers for stream in worker.streams]
        if len(running) == len(self._running):  # none joins while the workers take their turns
            return
        for stream in set(self._running).difference(running):
            self._seconds_per_job = smoothed(self._seconds_per_job, time.monotonic() - stream.submitted)
        with self._changed:
            self._running = running
            self._workers = [worker for worker in self._workers if worker.streams]
            self._shared = {key: worker for key, worker in self._shared.items() if worker.streams}
