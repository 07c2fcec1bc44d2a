"""A process with vLLM's interface behind our front door: started, asked, replaced, drained, ended."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from langmill.config.sections import Backend, Vllm
from langmill.errors import ConfigError, ModelError
from langmill.serving.engine import Engine
from langmill.serving.keys import Grant
from langmill.serving.vllm import RemoteVersion, VllmLoader
from tests.pipeline.served import make_model
from tests.refused import refused
from tests.unit.serving.conftest import CLASSIFY, COMPLETIONS, Server

pytestmark = pytest.mark.unit
ASK = {"model": "writer", "prompt": "x", "max_tokens": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("vllm") / "model", "writer", "language_modelling", 1)


@pytest.fixture(scope="module")
def loader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmLoader]:
    made = tmp_path_factory.mktemp("environment")
    program = made / "vllm"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).with_name("vllm_stub.py")} "$@"\n')
    program.chmod(0o755)
    settings = Vllm(str(program), ["--max-model-len", "128"], 30.0)
    found = VllmLoader(settings, lambda name: made / f"{name}.log")
    yield found
    found.stop()


def test_a_model_on_vllm_is_asked_through_our_front_door(server: Server, loader: VllmLoader, folder: Path) -> None:
    server.settings = replace(server.settings, backends={"writer": Backend.vllm}, max_waiting=8)
    server.keys = ()
    first = loader("writer", 4, folder)
    assert isinstance(first, RemoteVersion)
    assert list(first.model.network.parameters()) == [], "the weights are not loaded twice"
    assert (os.stat(first.process.socket.parent).st_mode & 0o777, first.alive) == (0o700, True)
    server.engine.publish(first)

    answer = server.ask("POST", COMPLETIONS, json=ASK).json()
    assert (answer["version"], answer["system_fingerprint"], answer["model"]) == (4, "writer:4", "writer")
    assert json.loads(answer["choices"][0]["text"])["folder"] == str(folder)

    stream = server.ask("POST", COMPLETIONS, json={**ASK, "stream": True})
    events = [line.removeprefix("data: ") for line in stream.text.splitlines() if line]
    assert [json.loads(event)["choices"][0]["text"] for event in events[:-1]] == ["0", "1", "2"]
    assert {json.loads(event)["version"] for event in events[:-1]} == {4}
    assert events[-1] == "[DONE]"

    def refusal(path: str, **fields: Any) -> tuple[int, Any, Any]:
        response = server.ask("POST", path, json={**ASK, **fields})
        error = response.json()["error"]
        return response.status_code, error["type"], error["param"]

    assert refusal(COMPLETIONS, max_tokens=13) == (400, "invalid_request_error", "max_tokens"), "its refusal, our shape"
    assert refusal(COMPLETIONS, max_tokens=51) == (400, "invalid_request_error", "max_tokens"), "our limit"
    room = server.settings.max_running + server.settings.max_waiting
    with pytest.MonkeyPatch.context() as context:
        context.setattr(first.process, "running", room - 4)
        assert refusal(COMPLETIONS, n=room + 1)[0] == 400, "never enough places"
        for more, status in (({"n": 4}, 200), ({"n": 5}, 503), ({"prompt": ["a", "b"], "n": 3}, 503)):
            assert server.ask("POST", COMPLETIONS, json={**ASK, **more}).status_code == status, more
        assert server.ask("POST", COMPLETIONS, json={**ASK, "prompt": [1, 2, 3, 4, 5]}).status_code == 200, "one of ids"
        assert first.process.running == room - 4
    for field, given in (("n", "5"), ("n", 5.0), ("n", True), ("max_tokens", "5000")):
        assert refusal(COMPLETIONS, **{field: given}) == (400, "invalid_request_error", field), given
    assert refusal(CLASSIFY) == (400, "invalid_request_error", "model")
    assert server.ask("POST", CLASSIFY, json={"model": "judge", "input": "x"}).status_code == 200, "ours as ever"

    async def leave() -> None:
        async with server.client() as client:
            asked = client.post(COMPLETIONS, json={**ASK, "max_tokens": 50, "stream": True})
            leaver = asyncio.create_task(asked)
            while streams(await client.post(COMPLETIONS, json=ASK))["begun"] == before:
                await asyncio.sleep(0.01)
            leaver.cancel()
            await asyncio.gather(leaver, return_exceptions=True)

    def streams(answer: httpx.Response) -> Any:
        return json.loads(answer.json()["choices"][0]["text"])

    before = streams(server.ask("POST", COMPLETIONS, json=ASK))["begun"]
    asyncio.run(leave())
    wait_for(lambda: streams(server.ask("POST", COMPLETIONS, json=ASK))["gone"] == 1)

    swap_under_load(server, loader, folder, first)


def swap_under_load(server: Server, loader: VllmLoader, folder: Path, first: RemoteVersion) -> None:
    """The old process ends when its last request has, and not before."""
    process = first.process

    async def swap() -> list[httpx.Response]:
        async with server.client() as client:
            slow = asyncio.create_task(client.post(COMPLETIONS, json={**ASK, "prompt": "slow"}))
            await asyncio.sleep(0.1)
            server.engine.publish(await asyncio.to_thread(loader, "writer", 5, folder))
            return [await slow, await client.post(COMPLETIONS, json=ASK)]

    before, after = asyncio.run(swap())
    assert (before.json()["version"], after.json()["version"]) == (4, 5)
    del first
    gc.collect()
    assert process.alive, "this test still holds it"


def test_a_key_takes_as_many_places_as_it_asks_for_answers(server: Server, loader: VllmLoader, folder: Path) -> None:
    server.settings = replace(server.settings, backends={"writer": Backend.vllm}, max_waiting=8, key_share=0.5)
    server.keys = [Grant(hashlib.sha256(b"greedy").digest())]
    server.engine.publish(loader("writer", 7, folder))

    async def talk() -> list[int]:
        async with server.client() as client:

            def ask(n: int, **more: Any) -> asyncio.Task[httpx.Response]:
                headers = {"authorization": "Bearer greedy"}
                return asyncio.create_task(client.post(COMPLETIONS, json={**ASK, "n": n, **more}, headers=headers))

            slow = ask(3, stream=True, max_tokens=50)  # a second
            await asyncio.sleep(0.1)
            others = [await ask(2), await ask(3), await ask(6)]
            return [each.status_code for each in (await slow, *others, await ask(5))]

    assert asyncio.run(talk()) == [200, 200, 429, 400, 200]


def test_a_version_that_nobody_holds_ends_its_process(loader: VllmLoader, folder: Path, engine: Engine) -> None:
    held = loader("writer", 4, folder)
    assert isinstance(held, RemoteVersion)
    process = held.process
    engine.publish(held)
    other = loader("writer", 5, folder)
    engine.publish(other)
    assert process.alive
    del held
    gc.collect()
    wait_for(lambda: not process.alive and not process.socket.parent.exists())


def test_a_process_that_dies_is_an_answer_and_not_a_hang(server: Server, loader: VllmLoader, folder: Path) -> None:
    server.settings = replace(server.settings, backends={"writer": Backend.vllm})
    remote = loader("writer", 4, folder)
    server.engine.publish(remote)
    stream = server.ask("POST", COMPLETIONS, json={**ASK, "prompt": "die", "stream": True})
    assert "broke off" in stream.text
    assert "[DONE]" not in stream.text
    refusal = server.ask("POST", COMPLETIONS, json=ASK)
    assert (refusal.status_code, refusal.json()["error"]["code"]) == (503, "backend_unreachable")
    assert refusal.headers["retry-after"] == "5"
    wait_for(lambda: not remote.alive)


def test_what_vllm_can_not_run_is_refused_with_its_log(loader: VllmLoader, folder: Path, tmp_path: Path) -> None:
    judge = make_model(tmp_path / "judge", "judge", "classification", 1)
    with refused(ModelError, "unsupported", "serving.backends"):
        loader("judge", 1, judge)
    (folder / "broken").touch()
    try:
        with refused(ModelError, "failed", "vllm-writer-6.log"):
            loader("writer", 6, folder)
    finally:
        (folder / "broken").unlink()
    with refused(ConfigError, "missing", "serving.vllm.command 'no-such-vllm'"):
        VllmLoader(Vllm("no-such-vllm", [], 1.0), lambda name: tmp_path / name)("writer", 1, folder)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
