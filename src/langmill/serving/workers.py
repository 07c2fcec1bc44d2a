"""How the engine's jobs are advanced: each alone, texts of one network together, items of like jobs together.

The engine takes turns between workers; a worker's turn is one forward pass of a network, or one step of a job.
"""

from __future__ import annotations

import logging
import math
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from langmill.errors import RequestError
from langmill.models.generation.generate import GeneratedSequence
from langmill.models.generation.network import Decodes
from langmill.models.generation.slots import Slot, Slots
from langmill.serving.generation import Completion
from langmill.serving.jobs import BATCH_ITEMS, BatchJob, Job, ResponseStream

log = logging.getLogger(__name__)
_LEAST_CHUNK = 16
"""Tokens of a prompt that are read in a turn at least, however slow that is."""


class Worker(ABC):
    """Advances some requests.

    A request has ended once its stream has got None or an exception.
    """

    @property
    @abstractmethod
    def streams(self) -> Sequence[ResponseStream[Any]]:
        """The requests that it is working on."""

    @abstractmethod
    def add(self, stream: ResponseStream[Any], job: Any) -> None:
        """Take in a request; does no work yet."""

    @abstractmethod
    def turn(self) -> None:
        """Work for a moment; there is at least one request."""

    @abstractmethod
    def drop(self, stream: ResponseStream[Any]) -> None:
        """Forget a request, also in the middle of its work."""

    def fail(self, stream: ResponseStream[Any], error: Exception) -> None:
        """End a request with what its client may know of an error."""
        self.drop(stream)
        if isinstance(error, RequestError):
            stream.put(error)
            return
        log.error("A request failed in the model", exc_info=error)
        stream.put(RequestError(f"The model failed on this request ({type(error).__name__}).", 500))


class Alone(Worker):
    """One job in its own steps: an `exact` text or search, a task with a way of its own."""

    def __init__(self) -> None:
        self._stream: ResponseStream[Any] | None = None
        self._steps: Generator[Any, None, None] | None = None

    @property
    def streams(self) -> Sequence[ResponseStream[Any]]:
        """The request, while it runs."""
        return [] if self._stream is None else [self._stream]

    def add(self, stream: ResponseStream[Any], job: Job[Any]) -> None:
        """Take in the request."""
        self._stream, self._steps = stream, job.steps()

    def turn(self) -> None:
        """Advance the job by one step."""
        stream, steps = self._stream, self._steps
        assert stream is not None and steps is not None
        try:
            event = next(steps)
        except StopIteration:
            self.drop(stream)
            stream.put(None)
        except Exception as error:  # one request's trouble is not the others'
            self.fail(stream, error)
        else:
            if event is not None:
                stream.put(event)

    def drop(self, stream: ResponseStream[Any]) -> None:
        """Break off the steps."""
        del stream
        if self._steps is not None:
            self._steps.close()
        self._stream = self._steps = None


@dataclass
class _Batched:
    stream: ResponseStream[Any]
    job: BatchJob[Any, Any]
    items: Sequence[Any]
    found: dict[int, Any] = field(default_factory=dict)


class Together(Worker):
    """Jobs of one `group_key`, a few items of them a turn: those that are of about the length of the oldest one's."""

    def __init__(self) -> None:
        self._jobs: list[_Batched] = []

    @property
    def streams(self) -> Sequence[ResponseStream[Any]]:
        """The requests that miss results."""
        return [each.stream for each in self._jobs]

    def add(self, stream: ResponseStream[Any], job: BatchJob[Any, Any]) -> None:
        """Take in a request."""
        self._jobs.append(_Batched(stream, job, job.items()))

    def turn(self) -> None:
        """Run some items; requests whose results are complete end."""
        group = self._group()
        runner = group[0][0].job
        try:
            results = runner.run([batched.items[index] for batched, index in group])
        except Exception as error:
            self._blame(group, error)
        else:
            for (batched, index), result in zip(group, results, strict=True):
                batched.found[index] = result
        for batched in [each for each in self._jobs if len(each.found) == len(each.items)]:
            self.drop(batched.stream)
            batched.stream.put([batched.found[index] for index in range(len(batched.items))])
            batched.stream.put(None)

    def _blame(self, group: Sequence[tuple[_Batched, int]], error: Exception) -> None:
        """End the request that an error came from: of several each is run alone to find out."""
        concerned = list({id(batched): batched for batched, _ in group}.values())
        if len(concerned) == 1:
            self.fail(concerned[0].stream, error)
            return
        for batched in concerned:
            own = [index for each, index in group if each is batched]
            try:
                results = batched.job.run([batched.items[index] for index in own])
            except Exception as own_error:
                self.fail(batched.stream, own_error)
            else:
                batched.found.update(zip(own, results, strict=True))

    def _group(self) -> list[tuple[_Batched, int]]:
        """Up to `BATCH_ITEMS` items next to each other in the order of size, one of the oldest request's among them."""
        waiting = [
            (batched.job.size(item), number, index)
            for number, batched in enumerate(self._jobs)
            for index, item in enumerate(batched.items)
            if index not in batched.found
        ]
        waiting.sort()
        oldest = next(place for place, (_, number, _) in enumerate(waiting) if number == 0)
        start = max(0, min(oldest, len(waiting) - BATCH_ITEMS))
        return [(self._jobs[number], index) for _, number, index in waiting[start : start + BATCH_ITEMS]]

    def drop(self, stream: ResponseStream[Any]) -> None:
        """Forget a request."""
        self._jobs = [each for each in self._jobs if each.stream is not stream]


@dataclass(eq=False)
class _Text:
    """A completion at work."""

    stream: ResponseStream[Any]
    job: Completion
    slot: Slot | None = None
    sequence: GeneratedSequence | None = None
    last_id: int = 0

    @property
    def takes_most_likely(self) -> bool:
        """Whether the largest logit decides and nothing else is asked for."""
        return self.sequence is not None and self.sequence.takes_most_likely


class Decoding(Worker):
    """Completions of one network: a turn reads a chunk of prompts, or gives every text its next token.

    Where texts are being written, a chunk takes about as long as a token of theirs, so that a long prompt slows them
    down and stops nobody.

    Args:
        network: What decodes; it lets texts join.
        prefill_tokens: Tokens of prompts that are read in a turn, at most.
        prefix_bytes: Memory for keys and values of earlier prompts.
    """

    def __init__(self, network: Decodes, prefill_tokens: int, prefix_bytes: int) -> None:
        self._network = network
        self._prefill_tokens = prefill_tokens
        self._slots = Slots(network, prefix_bytes)
        self._unread: deque[_Text] = deque()
        self._texts: dict[Slot, _Text] = {}  # those that are being written
        self._reads_next = True
        self._token_seconds = 0.0  # of a prompt's token, smoothed
        self._step_seconds = 0.0  # of a token of every text, smoothed

    @property
    def streams(self) -> Sequence[ResponseStream[Any]]:
        """The requests that are read or written."""
        return [text.stream for text in (*self._unread, *self._texts.values())]

    def add(self, stream: ResponseStream[Any], job: Completion) -> None:
        """Take in a request."""
        self._unread.append(_Text(stream, job))

    def turn(self) -> None:
        """Read a chunk of prompts, or a token of every text."""
        reads = bool(self._unread) and (self._reads_next or not self._texts)
        self._reads_next = not reads
        began = time.perf_counter()
        if reads:
            tokens = self._read(self._chunk())
            self._token_seconds = smoothed(self._token_seconds, (time.perf_counter() - began) / max(1, tokens))
        else:
            self._write()
            self._step_seconds = smoothed(self._step_seconds, time.perf_counter() - began)

    def _chunk(self) -> int:
        if not self._texts or not self._token_seconds:
            return self._prefill_tokens
        as_long_as_a_step = int(self._step_seconds / self._token_seconds)
        return min(self._prefill_tokens, max(_LEAST_CHUNK, as_long_as_a_step))

    def _read(self, budget: int) -> int:
        """Read prompts, the oldest first, until `budget` tokens are read; return how many were."""
        done = 0
        while self._unread and done < budget:
            text = self._unread[0]
            try:
                slot = text.slot or self._begin(text)
                before = slot.unread
                logits_V = self._slots.prefill(slot, budget - done)
                done += before if logits_V is not None else before - slot.unread
            except Exception as error:
                self.fail(text.stream, error)
                continue
            if logits_V is not None:
                self._unread.popleft()
                self._texts[slot] = text
                self._take(text, logits_V)
        return done

    def _begin(self, text: _Text) -> Slot:
        job = text.job
        slot = text.slot = self._slots.begin(job.prompt_ids, job.sampling.max_new_tokens)
        text.sequence = GeneratedSequence(
            slot.first_ids, job.sampling, self._network.max_length, job.guide, job.logprobs
        )
        return slot

    def _write(self) -> None:
        """Give every text its next token."""
        try:
            logits_BV = self._slots.decode({slot: text.last_id for slot, text in self._texts.items()})
        except Exception as error:  # nobody knows whose fault it is, and the cache may be half written
            for text in list(self._texts.values()):
                self.fail(text.stream, error)
            return
        greedy_B = logits_BV.argmax(dim=-1)
        highest_B = logits_BV.gather(1, greedy_B[:, None])[:, 0]
        chosen = zip(list(self._slots.rows), greedy_B.tolist(), highest_B.tolist(), strict=True)
        for row, (slot, greedy, highest) in enumerate(chosen):
            text = self._texts[slot]
            if text.takes_most_likely and math.isfinite(highest):
                self._take(text, None, greedy)
            else:
                self._take(text, logits_BV[row])

    def _take(self, text: _Text, logits_V: Tensor | None, greedy: int | None = None) -> None:
        """Choose a text's next token, or take the greedy, and hand over what it adds; a text that ends leaves."""
        sequence = text.sequence
        assert sequence is not None
        try:
            if greedy is not None:
                token = sequence.accept(greedy)
            elif sequence.ending is None and logits_V is not None:
                token = sequence.take(logits_V)
            else:
                token = None
            chunks = []
            if token is not None:
                text.last_id = token.id
                chunks.append(text.job.push(token))
            if sequence.ending is not None and not text.job.ended:
                chunks.append(text.job.finish(sequence.ending))
        except Exception as error:
            self.fail(text.stream, error)
            return
        ended = text.job.ended
        if ended:
            self.drop(text.stream)
        for chunk in chunks:
            if chunk is not None:
                text.stream.put(chunk)
        if ended:
            text.stream.put(None)

    def drop(self, stream: ResponseStream[Any]) -> None:
        """Forget a request; its slot is free."""
        text = next(each for each in (*self._unread, *self._texts.values()) if each.stream is stream)
        if text.slot is not None:
            self._slots.free(text.slot)
            self._texts.pop(text.slot, None)
        if text in self._unread:
            self._unread.remove(text)


def smoothed(before: float, now: float) -> float:
    """Average measurements with less weight for older ones; 0 stands for none before."""
    return now if before == 0 else 0.8 * before + 0.2 * now
