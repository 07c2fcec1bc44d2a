"""Requests that the models answer together: what each gets, who waits for whom, and whose fault is whose."""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from langmill.errors import RequestError
from langmill.models.generation.beam_search import beam_search
from langmill.models.generation.config import Beams, Sampling
from langmill.models.generation.generate import generate_tokens
from langmill.models.generation.network import Ending
from langmill.serving.engine import Engine
from langmill.serving.generation import Chunk, Completion
from langmill.serving.jobs import LoadedVersion, ResponseStream
from langmill.serving.searching import Searching
from langmill.tasks.base import Generates
from tests.unit.models.conftest import MakeModel, make_model
from tests.unit.serving.conftest import loaded_version, started

pytestmark = pytest.mark.unit
__all__ = ["make_model"]  # a fixture
GREEDY = Sampling(10)
PROMPTS = [b"one two", b"x", b"a longer prompt, it is", b"yes", b"no no no"]


class Network:
    """A network that notes what it is asked to read, and may be disturbed."""

    def __init__(self, network: Any) -> None:
        self.network = network
        self.passes: list[list[int]] = []
        """The number of new tokens of each sequence of each pass."""
        self.before: Callable[[Sequence[Sequence[int]]], None] = lambda new_ids: None
        self.after: Callable[[Sequence[Sequence[int]], Tensor], Tensor] = lambda new_ids, logits_BV: logits_BV

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)

    def read(self, new_ids: Sequence[Sequence[int]], cache: Any) -> Tensor:
        self.before(new_ids)
        self.passes.append([len(ids) for ids in new_ids])
        return self.after(new_ids, self.network.read(new_ids, cache))


class Plain(Generates):
    """Continues a text, byte by byte."""

    labels = ()

    def __init__(self, network: Network) -> None:
        self.network = network

    def prompt_ids(self, tokenizer: Any, prompt: str) -> list[int]:
        return list(tokenizer.encode(prompt))

    def decodes(self, network: Any) -> Any:
        return self.network


@pytest.fixture
def network(make_model: MakeModel) -> Network:
    return Network(make_model(std=0.3))


@pytest.fixture
def version(network: Network) -> LoadedVersion:
    return loaded_version("plain", 1, Plain(network))


def completion(version: LoadedVersion, prompt: bytes, decoding: Sampling | Beams = GREEDY, **asked: Any) -> Completion:
    options: dict[str, Any] = {"stop": (), "streamed": True, **asked}
    return Completion(version, version.model.task, prompt_ids=list(prompt), decoding=decoding, **options)  # type: ignore[arg-type]


async def chunks_of(engine: Engine, job: Completion) -> list[Chunk]:
    return [chunk async for chunk in engine.submit(job)]


def answered(engine: Engine, jobs: Sequence[Completion]) -> list[list[Chunk]]:
    async def main() -> list[list[Chunk]]:
        return list(await asyncio.gather(*(chunks_of(engine, job) for job in jobs)))

    return asyncio.run(main())


def told(chunks: Sequence[Chunk]) -> list[Any]:
    return [each for chunk in chunks for each in chunk.logprobs]


def expected(network: Network, prompt: bytes, sampling: Sampling) -> list[Any]:
    return [token.logprobs for token in generate_tokens(network.network, list(prompt), sampling, logprobs=2)]


SAMPLINGS = [
    GREEDY,
    replace(GREEDY, temperature=0.9, seed=4),
    replace(GREEDY, max_new_tokens=6, repetition_penalty=1.5),
    replace(GREEDY, temperature=1.0, top_k=5, seed=9, frequency_penalty=0.5, presence_penalty=0.5),
    replace(GREEDY, max_new_tokens=3, logit_bias=((65, 100.0),)),
]


@pytest.mark.parametrize("by", ["request", "setting"])
def test_an_exact_text_is_bit_for_bit_the_lone_one(network: Network, version: LoadedVersion, by: str) -> None:
    with started(exact=by == "setting") as engine:
        jobs = [
            completion(version, prompt, sampling, exact=by == "request", logprobs=2)
            for prompt, sampling in zip(PROMPTS, SAMPLINGS, strict=True)
        ]
        found = answered(engine, jobs)
    for chunks, prompt, sampling in zip(found, PROMPTS, SAMPLINGS, strict=True):
        assert told(chunks) == expected(network, prompt, sampling)  # floats too
    assert max(map(len, network.passes)) == 1


def test_texts_that_are_decoded_together_are_the_lone_ones_within_rounding(
    network: Network, version: LoadedVersion
) -> None:
    with started() as engine:
        jobs = [
            completion(version, prompt, sampling, logprobs=2)
            for prompt, sampling in zip(PROMPTS, SAMPLINGS, strict=True)
        ]
        found = answered(engine, jobs)
    for chunks, prompt, sampling in zip(found, PROMPTS, SAMPLINGS, strict=True):
        lone = expected(network, prompt, sampling)
        assert [each.token_id for each in told(chunks)] == [each.token_id for each in lone]
        assert [each.logprob for each in told(chunks)] == pytest.approx([each.logprob for each in lone], abs=1e-4)
        assert chunks[-1].ending is Ending.length
    assert max(map(len, network.passes)) == len(PROMPTS)


def test_eight_streams_take_little_more_passes_than_one(network: Network, version: LoadedVersion) -> None:
    with started() as engine:
        answered(engine, [completion(version, b"ab", replace(GREEDY, max_new_tokens=20)) for _ in range(8)])
    decoding = [row for row in network.passes if row == [1] * len(row)]
    assert len(decoding) < 30
    assert sum(map(len, decoding)) == 8 * 19


def test_a_long_prompt_is_read_in_chunks_while_others_are_written(network: Network, version: LoadedVersion) -> None:
    with started(prefill_tokens=4) as engine:

        async def main() -> None:
            first = engine.submit(completion(version, b"ab", replace(GREEDY, max_new_tokens=28)))
            await anext(first)
            await chunks_of(engine, completion(version, b"0123456789abcdefghij", replace(GREEDY, max_new_tokens=2)))
            first.cancel()

        asyncio.run(main())
    reading = [place for place, row in enumerate(network.passes) if max(row) > 1]
    assert all(max(row) <= 4 for row in network.passes)
    assert len(reading) == 6
    assert all(later - earlier > 1 for earlier, later in itertools.pairwise(reading[1:]))


def test_a_cancelled_text_is_read_no_more_after_two_passes(network: Network, version: LoadedVersion) -> None:
    with started() as engine:

        async def main() -> None:
            stays = engine.submit(completion(version, b"ab", replace(GREEDY, max_new_tokens=25)))
            leaves = engine.submit(completion(version, b"abc", replace(GREEDY, max_new_tokens=25)))
            await anext(leaves)
            leaves.cancel()
            passes = len(network.passes)
            async for _ in stays:
                pass
            assert all(len(row) == 1 for row in network.passes[passes + 2 :])

        asyncio.run(main())
        assert engine.load == 0


def test_a_logit_that_is_no_number_fails_one_text(network: Network, version: LoadedVersion) -> None:
    def poison(new_ids: Sequence[Sequence[int]], logits_BV: Tensor) -> Tensor:
        if len(new_ids) == 2:
            logits_BV = logits_BV.clone()
            logits_BV[1, 7] = torch.nan
        return logits_BV

    network.after = poison
    with started() as engine:

        async def main() -> list[Any]:
            jobs = [completion(version, b"ab"), completion(version, b"abc")]
            return list(await asyncio.gather(*(chunks_of(engine, job) for job in jobs), return_exceptions=True))

        whole, failed = asyncio.run(main())
    assert whole[-1].tokens == 10
    assert isinstance(failed, RequestError)
    assert (failed.status, "ModelError" in str(failed)) == (500, True)


def test_a_pass_that_fails_ends_its_texts_and_no_later_ones(network: Network, version: LoadedVersion) -> None:
    def fail_at_two(new_ids: Sequence[Sequence[int]]) -> None:
        if len(new_ids) == 2:
            raise RuntimeError("out of memory")

    network.before = fail_at_two
    with started() as engine:

        async def main() -> None:
            jobs = [completion(version, b"ab"), completion(version, b"abc")]
            both = await asyncio.gather(*(chunks_of(engine, job) for job in jobs), return_exceptions=True)
            assert all(isinstance(each, RequestError) and each.status == 500 for each in both)
            assert (await chunks_of(engine, completion(version, b"ab")))[-1].tokens == 10

        asyncio.run(main())


def test_work_stops_at_the_deadline(network: Network, version: LoadedVersion) -> None:
    network.before = lambda new_ids: time.sleep(0.02)
    with started(request_seconds=0.1, max_running=1) as engine:

        async def main() -> None:
            jobs = [completion(version, b"ab", replace(GREEDY, max_new_tokens=30)) for _ in range(3)]
            streams = [engine.submit(job) for job in jobs]
            for stream in streams:  # the second waits for its turn until it is late
                with pytest.raises(RequestError) as late:
                    async for _ in stream:
                        pass
                assert (late.value.status, late.value.code) == (503, "deadline")

        asyncio.run(main())
        assert engine.load == 0
    assert len(network.passes) < 15


def test_prompts_that_wait_are_limited_by_their_tokens(network: Network, version: LoadedVersion) -> None:
    gate = threading.Event()

    def wait(new_ids: Sequence[Sequence[int]]) -> None:
        assert gate.wait(10)

    network.before = wait
    with started(max_running=1, max_waiting_tokens=20) as engine:

        async def main() -> None:
            running = engine.submit(completion(version, b"ab"))
            while engine.waiting:
                await asyncio.sleep(0.001)
            waits = [engine.submit(completion(version, b"x" * 22))]
            with pytest.raises(RequestError) as refused:
                engine.submit(completion(version, b"x"))
            assert (refused.value.status, refused.value.code) == (503, "overloaded")
            assert refused.value.retry_after is not None
            assert 1 <= refused.value.retry_after <= 60
            gate.set()
            for stream in (running, *waits):
                assert [chunk async for chunk in stream][-1].ending is Ending.length

        asyncio.run(main())


def test_memory_for_texts_goes_with_the_version(network: Network) -> None:
    with started() as engine:
        answered(engine, [completion(loaded_version("plain", 1, Plain(network)), b"ab")])
        gc.collect()
        assert len(engine._decoding) == 0


def test_hundreds_of_requests_leave_nothing_behind(network: Network, version: LoadedVersion) -> None:
    with started(max_running=8, max_waiting=64, prefix_bytes=2**16) as engine:
        for _ in range(10):
            answered(
                engine,
                [completion(version, prompt, replace(GREEDY, max_new_tokens=4)) for prompt in PROMPTS * 8],
            )
        (decoding,) = engine._decoding.values()
        slots = decoding._slots
        cache: Any = slots._cache
        assert (engine.load, len(slots.rows), len(decoding.streams), engine._workers) == (0, 0, 0, [])
        assert cache.keys_LBGSE.shape[1] == 8
        assert cache.capacity <= 32
        kept = sum(map(len, slots._prefixes._kept))
        assert kept * cache.token_bytes <= 2**16


BEAMS = Beams(6, 3, 1.0, ())


def test_searches_of_several_requests_are_made_together(network: Network, version: LoadedVersion) -> None:
    prompts = [b"one two", b"x", b"yes"]
    lone = [beam_search(network.network, [list(prompt)], BEAMS)[0] for prompt in prompts]
    gate = threading.Event()
    network.before = lambda new_ids: gate.wait(10) and None
    with started() as engine:

        async def main() -> list[Chunk]:
            streams = [engine.submit(completion(version, each, BEAMS)) for each in prompts]
            gate.set()
            return [(await anext(stream)) for stream in streams]

        found = asyncio.run(main())
    assert [chunk.text for chunk in found] == [version.model.tokenizer.decode(ids) for ids in lone]
    assert len(network.passes) <= 2 * 6  # the first may have begun before the others came
    assert max(map(len, network.passes)) >= 2 * 3


def test_a_search_that_is_left_is_read_no_further_and_one_that_fails_fails_alone(
    network: Network, version: LoadedVersion
) -> None:
    worker = Searching(256)

    async def main() -> list[Any]:
        streams = [ResponseStream(completion(version, each, BEAMS)) for each in (b"ab", b"abc", b"abcd")]
        for stream in streams:
            assert stream.job is not None
            worker.add(stream, stream.job)
        worker.turn()
        worker.drop(streams[0])
        worker.turn()
        assert network.passes[-1] == [1] * 6

        def fail(new_ids: Sequence[Sequence[int]]) -> None:
            if len(new_ids) > 3 or list(b"abcd") in [list(ids) for ids in new_ids]:
                raise RuntimeError("out of memory")

        network.before = fail
        while worker.streams:
            worker.turn()
        ResponseStream.deliver(streams)
        return list(await asyncio.gather(*(anext(stream) for stream in streams[1:]), return_exceptions=True))

    whole, failed = asyncio.run(main())
    (lone,) = beam_search(network.network, [list(b"abc")], BEAMS)
    assert whole.text == version.model.tokenizer.decode(lone)
    assert isinstance(failed, RequestError)
