"""Beam searches of several requests in one forward pass a token."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from typing import Any

from langmill.serving.generation import Completion
from langmill.serving.jobs import BATCH_ITEMS, ResponseStream
from langmill.serving.workers import Alone, Worker


class Searching(Worker):
    """Searches of one `search_key`, begun together; those that come later are another worker's.

    Where one of them fails, each is searched by itself, so that only that one's request fails.

    Args:
        prompt_tokens: Tokens of prompts, padding included, that are read together at most: they are read in one turn.
    """

    def __init__(self, prompt_tokens: int) -> None:
        self._prompt_tokens = prompt_tokens
        self._jobs: list[tuple[ResponseStream[Any], Completion]] = []
        self._steps: Generator[dict[int, list[int]], None, object] | None = None
        self._done: set[int] = set()  # answered, or waited for by nobody
        self._alone: deque[Alone] = deque()

    @property
    def streams(self) -> Sequence[ResponseStream[Any]]:
        """The requests without an answer."""
        return [stream for number, (stream, _) in enumerate(self._jobs) if number not in self._done]

    def takes(self, job: Completion) -> bool:
        """Whether a further search may join."""
        longest = max(len(each.prompt_ids) for each in (job, *(other for _, other in self._jobs)))
        fits = (1 + len(self._jobs)) * longest <= self._prompt_tokens
        return self._steps is None and not self._alone and fits and len(self._jobs) < BATCH_ITEMS

    def add(self, stream: ResponseStream[Any], job: Completion) -> None:
        """Take in a request."""
        self._jobs.append((stream, job))

    def turn(self) -> None:
        """Read a token of every beam of every search; those that end are answered."""
        if self._alone:
            self._search_alone()
            return
        try:
            if self._steps is None:
                (_, first), *others = self._jobs
                self._steps = first.searched_with([job for _, job in others], self._done)
            ended = next(self._steps, {})
        except Exception as error:
            self._blame(error)
            return
        for number, tokens in ended.items():
            if number not in self._done:
                self._done.add(number)
                stream, job = self._jobs[number]
                stream.put(job.found(tokens))
                stream.put(None)

    def _blame(self, error: Exception) -> None:
        streams = self.streams
        if len(streams) == 1:
            self.fail(streams[0], error)
            return
        for stream, job in self._jobs:
            if stream in streams:
                self._alone.append(Alone())
                self._alone[-1].add(stream, job)

    def _search_alone(self) -> None:
        worker = self._alone[0]
        if worker.streams:
            (stream,) = worker.streams
            worker.turn()
            if not worker.streams:
                self._forget(stream)
        if not worker.streams:
            self._alone.popleft()

    def drop(self, stream: ResponseStream[Any]) -> None:
        """Forget a request; its beams are read no more."""
        self._forget(stream)
        for worker in self._alone:
            if stream in worker.streams:
                worker.drop(stream)
        if not self.streams and self._steps is not None:
            self._steps.close()

    def _forget(self, stream: ResponseStream[Any]) -> None:
        self._done.update(number for number, (each, _) in enumerate(self._jobs) if each is stream)
