"""Round-robin, bounds, cancelling, and what happens when something dies."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from langmill.errors import RequestError
from langmill.models.generation.config import Sampling
from langmill.models.generation.network import Ending
from langmill.serving import engine as engine_module
from langmill.serving.engine import Engine
from langmill.serving.generation import Completion
from langmill.serving.jobs import Job, ResponseStream
from langmill.serving.metrics import Metrics
from langmill.serving.routes.classify import Classification
from tests.unit.serving.conftest import Judge, Writer, loaded_version

pytestmark = pytest.mark.unit


class Scripted(Job[Any]):
    """Gives what it is told to, or waits at a barrier."""

    def __init__(self, *events: Any) -> None:
        super().__init__(loaded_version("scripted", 1, Writer()))
        self.events = events

    def steps(self) -> Iterator[Any]:
        for event in self.events:
            if isinstance(event, threading.Event):
                assert event.wait(10)
            elif isinstance(event, BaseException):
                raise event
            else:
                yield event() if callable(event) else event


def completion(
    writer: Writer, tokens: int = 20, stop: tuple[str, ...] = (), *, streamed: bool = True, of: Any = None
) -> Completion:
    of = of or loaded_version("writer", 1, writer)
    return Completion(
        of, writer, prompt_ids=[256], decoding=Sampling(tokens, stop_ids=(256,)), stop=stop, streamed=streamed
    )


@contextmanager
def turned_away(code: str, *words: str) -> Iterator[None]:
    """Expect 503 with one of OpenAI's codes."""
    with pytest.raises(RequestError) as caught:
        yield
    assert (caught.value.status, caught.value.code) == (503, code)
    assert all(each in str(caught.value) for each in words)


async def collect(answer: ResponseStream[Any]) -> list[Any]:
    return [event async for event in answer]


def test_a_completion_says_its_text_tokens_and_ending(engine: Engine) -> None:
    async def ask(tokens: int, *stop: str) -> tuple[str, int, Ending | None]:
        chunks = await collect(engine.submit(completion(Writer("one two three"), tokens, stop)))
        assert all(chunk.ending is None for chunk in chunks[:-1])
        return "".join(chunk.text for chunk in chunks), chunks[-1].tokens, chunks[-1].ending

    assert asyncio.run(ask(50)) == ("one two three", 13, Ending.stop)
    assert asyncio.run(ask(5)) == ("one t", 5, Ending.length)
    assert asyncio.run(ask(50, "two")) == ("one ", 7, Ending.stop)


def test_what_is_not_streamed_comes_in_two_chunks(engine: Engine) -> None:
    for tokens, stop, expected in [(50, (), "one two three"), (5, (), "one t"), (50, ("thr",), "one two ")]:
        request = completion(Writer("one two three"), tokens, stop, streamed=False)
        chunks = asyncio.run(collect_one(engine, request))
        assert [chunk.text for chunk in chunks] == ["o", expected[1:]]
        assert (chunks[0].tokens, chunks[0].ending) == (1, None)
        assert chunks[1].ending is not None


def test_a_stop_string_ends_the_work_too(engine: Engine) -> None:
    writer = Writer("one two three")
    asyncio.run(collect_one(engine, completion(writer, 50, ("n",))))
    assert writer.tokens_made == 2


async def collect_one(engine: Engine, request: Job[Any]) -> list[Any]:
    return await collect(engine.submit(request))


def test_jobs_are_interleaved(engine: Engine) -> None:
    order: list[str] = []
    both_in = threading.Event()

    async def main() -> None:
        def note(name: str) -> Any:
            return lambda: order.append(name)

        first = engine.submit(Scripted(both_in, *[note("a")] * 3))
        second = engine.submit(Scripted(*[note("b")] * 3))
        both_in.set()
        await asyncio.gather(collect(first), collect(second))

    asyncio.run(main())
    assert sorted(order) == ["a"] * 3 + ["b"] * 3
    assert order != sorted(order), "the first request was not interrupted"


def test_turns_away_what_does_not_fit(engine: Engine, metrics: Metrics) -> None:
    gate = threading.Event()

    async def main() -> None:
        accepted = [engine.submit(Scripted(gate, number)) for number in range(3)]  # two run, one waits
        with turned_away("overloaded"):
            engine.submit(Scripted(1))
        gate.set()
        assert await asyncio.gather(*map(collect, accepted)) == [[0], [1], [2]]
        assert await collect(engine.submit(Scripted("room again"))) == ["room again"]

    asyncio.run(main())
    assert metrics.registry.get_sample_value("langmill_requests_turned_away_total") == 1


def test_a_cancelled_request_is_dropped_and_gives_its_place_up(engine: Engine, metrics: Metrics) -> None:
    writer = Writer(seconds=0.01)

    async def main() -> None:
        answer = engine.submit(completion(writer, 50))
        await anext(answer)
        answer.cancel()
        deadline = time.monotonic() + 5
        while engine.load and time.monotonic() < deadline:
            await asyncio.sleep(0.01)

    asyncio.run(main())
    assert engine.load == 0
    assert writer.tokens_made < 10
    assert metrics.registry.get_sample_value("langmill_requests_cancelled_total") == 1


def test_a_cancelled_request_makes_room_in_the_queue(engine: Engine) -> None:
    gate = threading.Event()

    async def main() -> None:
        accepted = [engine.submit(Scripted(gate, number)) for number in range(3)]
        accepted[2].cancel()
        replacement = engine.submit(Scripted("in its place"))
        gate.set()
        assert await collect(replacement) == ["in its place"]

    asyncio.run(main())


def test_one_failing_request_harms_no_other(engine: Engine) -> None:
    async def main() -> None:
        bad, good = engine.submit(Scripted(1, RuntimeError("boom"))), engine.submit(Scripted(1, 2, 3))
        results = await asyncio.gather(collect(bad), collect(good), return_exceptions=True)
        assert isinstance(results[0], RequestError)
        assert (results[0].status, "RuntimeError" in str(results[0])) == (500, True)
        assert results[1] == [1, 2, 3]
        assert engine.failure() is None

    asyncio.run(main())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_engine_says_so_and_fails_what_it_had(engine: Engine) -> None:
    async def main() -> None:
        gate = threading.Event()
        dying, other = engine.submit(Scripted(gate, SystemExit())), engine.submit(Scripted(gate, 1))
        gate.set()
        results = await asyncio.gather(collect(dying), collect(other), return_exceptions=True)
        assert {getattr(result, "status", None) for result in results} <= {500, None}
        assert isinstance(results[0], RequestError)
        engine._thread.join(5)
        assert "has ended" in str(engine.failure())
        with turned_away("engine_dead", "has ended"):
            engine.submit(Scripted(1))

    asyncio.run(main())


def test_a_step_that_never_ends_counts_as_dead(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()

    async def main() -> None:
        answer = engine.submit(Scripted(gate, 1))
        await asyncio.sleep(0.1)
        assert engine.failure() is None
        monkeypatch.setattr(engine, "_stalled_seconds", 0.05)
        assert "has not come back" in str(engine.failure())
        waits = engine.submit(Scripted(2))  # it may come back
        monkeypatch.setattr(engine_module, "_HOPELESS_SECONDS", 0.05)
        with turned_away("engine_dead", "has not come back"):
            engine.submit(Scripted(3))
        gate.set()
        await collect(answer)
        assert await collect(waits) == [2]
        assert engine.failure() is None

    asyncio.run(main())


def test_draining_finishes_what_was_accepted_and_takes_nothing_more(engine: Engine) -> None:
    gate = threading.Event()

    async def main() -> None:
        accepted = engine.submit(Scripted(gate, 1, 2))
        engine.drain()
        with turned_away("stopping"):
            engine.submit(Scripted(1))
        gate.set()
        assert await collect(accepted) == [1, 2]

    asyncio.run(main())


def test_stopping_breaks_off_what_runs(engine: Engine) -> None:
    async def main() -> None:
        answer = engine.submit(completion(Writer(seconds=0.01), 50))
        await anext(answer)
        await asyncio.to_thread(engine.stop)
        with turned_away("stopping"):
            await collect(answer)

    asyncio.run(main())


def test_one_that_comes_after_the_end_hears_that_the_server_stops_not_that_it_is_broken(engine: Engine) -> None:
    async def main() -> None:
        engine.stop()
        assert engine.failure() is None
        with turned_away("stopping"):
            engine.submit(Scripted(1))

    asyncio.run(main())


def test_a_replaced_version_is_freed_when_its_last_request_ends(engine: Engine) -> None:
    old_writer = Writer("x" * 50, seconds=0.005)
    old = loaded_version("writer", 1, old_writer)
    network = weakref.ref(old.model.network)
    engine.publish(old)

    async def main() -> None:
        nonlocal old, old_writer
        answer = engine.submit(completion(old_writer, 50, of=old))
        await anext(answer)
        engine.publish(loaded_version("writer", 2, Writer()))
        del old, old_writer
        gc.collect()
        assert network() is not None, "a request was left without its model"
        assert len(await collect(answer)) == 50

    asyncio.run(main())
    deadline = time.monotonic() + 5
    while engine.load and time.monotonic() < deadline:
        time.sleep(0.01)
    gc.collect()
    assert network() is None


def test_texts_are_classified_in_groups_of_like_length_and_answered_in_order(engine: Engine) -> None:
    judge = Judge()
    texts = ["x" * (1 + 37 * number % 20) for number in range(20)]
    found = asyncio.run(
        collect_one(engine, Classification(loaded_version("judge", 1, judge), judge, texts, len(texts)))
    )[-1]
    np.testing.assert_allclose(np.stack(found)[:, 1], [len(text) / 100 for text in texts])
    assert [len(batch) for batch in judge.batches] == [8, 8, 4]
    lengths = [len(text) for batch in judge.batches for text in batch]
    assert lengths == sorted(lengths)


def test_a_probability_that_is_not_a_number_is_an_error(engine: Engine) -> None:
    class Broken(Judge):
        def probabilities(self, network: Any, tokenizer: Any, texts: Any) -> np.ndarray:
            return np.full((len(texts), 2), np.nan)

    async def main() -> None:
        with pytest.raises(RequestError) as failed:
            await collect(engine.submit(Classification(loaded_version("judge", 1, Broken()), Broken(), ["a"], 1)))
        assert (failed.value.status, "ServingError" in str(failed.value)) == (500, True)

    asyncio.run(main())
