"""How the server refuses: what is wrong, in a sentence and a status."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import httpx
import pytest

from tests.unit.serving.conftest import CLASSIFY, COMPLETIONS, J, Server, W, completion

pytestmark = pytest.mark.unit


B = {"model": "writer", "prompt": "x", "num_beams": 2, "temperature": 0}
CHAT = "/v1/chat/completions"
C = {"model": "writer", "messages": [{"role": "user", "content": "x"}]}


def said(**message: Any) -> dict[str, Any]:
    """A conversation whose second message is odd."""
    return {**C, "messages": [C["messages"][0], message]}  # type: ignore[index]


def form(schema: Any) -> dict[str, Any]:
    """OpenAI's way to ask for JSON."""
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


BAD: list[tuple[str, str, Any, int, str, str | None]] = [
    ("not json", COMPLETIONS, b'{"model": "wri', 400, "not valid JSON", None),
    ("deeply nested", COMPLETIONS, b"[" * 2000, 400, "not valid JSON", None),
    ("no body", COMPLETIONS, b"", 400, "not a JSON object", None),
    ("a list", COMPLETIONS, [1], 400, "not a JSON object", None),
    ("no model", COMPLETIONS, {"prompt": "x"}, 400, "model is missing", "model"),
    ("unknown model", COMPLETIONS, {**W, "model": "gpt"}, 404, "no model 'gpt' here; served: writer, judge", "model"),
    ("model of the other kind", COMPLETIONS, {**W, "model": "judge"}, 400, "ask it at /v1/classify", "model"),
    ("no prompt", COMPLETIONS, {"model": "writer"}, 400, "prompt is missing", "prompt"),
    ("prompt is a number", COMPLETIONS, {**W, "prompt": 5}, 400, "prompt is 5; it must be a text, a list", "prompt"),
    ("many prompts", COMPLETIONS, {**W, "prompt": ["a"] * 4}, 400, "holds 4 texts; up to 3 choices", "prompt"),
    ("no prompts", COMPLETIONS, {**W, "prompt": []}, 400, "prompt is an empty list", "prompt"),
    ("mixed prompts", COMPLETIONS, {**W, "prompt": ["a", [1]]}, 400, "prompt is ['a', [1]]; it must be", "prompt"),
    ("foreign tokens", COMPLETIONS, {**W, "prompt": [1, 257]}, 400, "token id 257, and the vocabulary of", "prompt"),
    ("tokens below 0", COMPLETIONS, {**W, "prompt": [[1], [-1]]}, 400, "prompt is [[1], [-1]]", "prompt"),
    ("long prompt", COMPLETIONS, {**W, "prompt": "é" * 30}, 400, "prompt has 61 tokens; up to 40", "prompt"),
    ("hopeless prompt", COMPLETIONS, {**W, "prompt": "x" * 500}, 400, "500 characters, which are", "prompt"),
    ("broken text", COMPLETIONS, b'{"model": "writer", "prompt": "\\ud800"}', 400, "Unicode does not have", "prompt"),
    ("broken name", COMPLETIONS, b'{"model": "writer", "prompt": "x", "\\ud800": 1}', 400, "not a JSON object", None),
    ("too many tokens", COMPLETIONS, {**W, "max_tokens": 51}, 400, "max_tokens is 51; up to 50 are", "max_tokens"),
    ("no tokens", COMPLETIONS, {**W, "max_tokens": 0}, 400, "max_tokens is 0; it must be 1 or more", "max_tokens"),
    ("tokens as text", COMPLETIONS, {**W, "max_tokens": "9"}, 400, "is '9'; it must be a whole number", "max_tokens"),
    ("half a token", COMPLETIONS, {**W, "max_tokens": 1.5}, 400, "is 1.5; it must be a whole number", "max_tokens"),
    ("true tokens", COMPLETIONS, {**W, "max_tokens": True}, 400, "is true; it must be a whole number", "max_tokens"),
    ("cold", COMPLETIONS, {**W, "temperature": -0.1}, 400, "temperature is -0.1; it must be 0 or more", "temperature"),
    ("hot", COMPLETIONS, {**W, "temperature": 2.1}, 400, "temperature is 2.1; it must be 2 or less", "temperature"),
    ("no temperature", COMPLETIONS, b'{"model":"writer","prompt":"x","temperature":NaN}', 400, "is NaN", "temperature"),
    ("infinite", COMPLETIONS, b'{"model":"writer","prompt":"x","temperature":1e999}', 400, "infinite", "temperature"),
    ("top_p 0", COMPLETIONS, {**W, "top_p": 0}, 400, "top_p is 0; it must be more than 0", "top_p"),
    ("top_p 1.5", COMPLETIONS, {**W, "top_p": 1.5}, 400, "top_p is 1.5; it must be 1 or less", "top_p"),
    ("top_k -1", COMPLETIONS, {**W, "top_k": -1}, 400, "top_k is -1; it must be 0 or more", "top_k"),
    ("seed too large", COMPLETIONS, {**W, "seed": 2**63}, 400, "seed is 9223372036854775808; it must be less", "seed"),
    ("unbounded n", COMPLETIONS, {**W, "n": 10**9}, 400, "n is 1000000000; up to 3 choices", "n"),
    ("best of many", COMPLETIONS, {**W, "best_of": 50}, 400, "best_of is 50; this server offers 1 only", "best_of"),
    ("penalty", COMPLETIONS, {**W, "presence_penalty": 2.5}, 400, "it must be 2 or less", "presence_penalty"),
    ("biased words", COMPLETIONS, {**W, "logit_bias": {"film": 1}}, 400, "has the key 'film'", "logit_bias"),
    ("bias of others", COMPLETIONS, {**W, "logit_bias": {"300": 1}}, 400, "has the token id 300", "logit_bias"),
    ("a strong bias", COMPLETIONS, {**W, "logit_bias": {"3": 101}}, 400, "is 101; it must be 100", "logit_bias"),
    ("many logprobs", COMPLETIONS, {**W, "logprobs": 21}, 400, "logprobs is 21; it must be 20", "logprobs"),
    ("no logprobs", COMPLETIONS, {**W, "logprobs": 0}, 400, "writer does not write token by token", "logprobs"),
    ("a suffix", COMPLETIONS, {**W, "suffix": "x"}, 400, "suffix asks for something", "suffix"),
    ("stored", COMPLETIONS, {**W, "store": True}, 400, "store is true; this server offers False", "store"),
    ("beams and choices", COMPLETIONS, {**B, "n": 2}, 400, "num_beams is 2 and n is 2", "num_beams"),
    ("beams and biases", COMPLETIONS, {**B, "logit_bias": {"3": 1}}, 400, "a search knows no bias", "num_beams"),
    ("false logprobs", COMPLETIONS, {**W, "logprobs": False}, 400, "logprobs is false; it must be", "logprobs"),
    ("two lengths", CHAT, {**C, "max_tokens": 1, "max_completion_tokens": 2}, 400, "The body has max_tokens and", None),
    ("top of nothing", CHAT, {**C, "top_logprobs": 2}, 400, "The body has top_logprobs without logprobs", None),
    ("nothing to tokenize", "/tokenize", {"model": "writer"}, 400, "The body has both a prompt and messages", None),
    ("no messages", CHAT, {**C, "messages": []}, 400, "messages holds 0 entries; send 1 or more", "messages"),
    ("messages as text", CHAT, {**C, "messages": "x"}, 400, "messages is 'x'; it must be a list.", "messages"),
    ("a tool speaks", CHAT, said(role="tool", content="x"), 400, "messages[1].role is 'tool'; this", "messages"),
    ("nobody speaks", CHAT, said(content="x"), 400, "messages[1] lacks role.", "messages"),
    ("nothing said", CHAT, said(role="user", content=None), 400, "messages[1] lacks content; only", "messages"),
    ("a number said", CHAT, said(role="user", content=5), 400, "content is 5; it must be a list or a text", "messages"),
    ("a picture", CHAT, said(role="user", content=[{"type": "image"}]), 400, "[1].content[0].type is", "messages"),
    ("a name", CHAT, said(role="user", content="x", name="Ann"), 400, "messages[1].name asks for some", "messages"),
    ("a misspelt role", CHAT, said(rol="user", content="x"), 400, "messages[1].rol is not a field", "messages"),
    ("one stop is none", COMPLETIONS, {**W, "stop": ["a", 5]}, 400, "stop[1] is 5; it must be a text.", "stop"),
    (
        "no schema", COMPLETIONS, {**W, "response_format": form(False)}, 400,
        "response_format.json_schema.schema is false; it must be an object.", "response_format",
    ),
    ("many unknown", COMPLETIONS, {**W, **{f"k{n}": 1 for n in range(200)}}, 400, "The body has 200 fields that", None),
    ("echo of 0", COMPLETIONS, {**W, "echo": 0}, 400, "echo is 0; it must be true or false", "echo"),
    ("small penalty", COMPLETIONS, {**W, "repetition_penalty": 1e-46}, 400, "0.01 or more", "repetition_penalty"),
    ("weighed without beams", COMPLETIONS, {**W, "length_penalty": 2.0}, 400, "nothing is searched", "length_penalty"),
    ("too many beams", COMPLETIONS, {**W, "num_beams": 5}, 400, "num_beams is 5; up to 4", "num_beams"),
    ("beams streamed", COMPLETIONS, {**B, "stream": True}, 400, "and stream is true", "num_beams"),
    ("beams by chance", COMPLETIONS, {**B, "temperature": 0.5}, 400, "and num_beams is 2", "temperature"),
    ("beams with a seed", COMPLETIONS, {**B, "seed": 1}, 400, "and num_beams is 2", "seed"),
    ("beams with top_p", COMPLETIONS, {**B, "top_p": 0.9}, 400, "and num_beams is 2", "top_p"),
    ("beams with top_k", COMPLETIONS, {**B, "top_k": 5}, 400, "and num_beams is 2", "top_k"),
    ("beams with min_p", COMPLETIONS, {**B, "min_p": 0.1}, 400, "and num_beams is 2", "min_p"),
    (
        "beams with a penalty", COMPLETIONS, {**B, "repetition_penalty": 1.2}, 400,
        "repetition_penalty is 1.2 and num_beams is 2", "repetition_penalty",
    ),
    (
        "longer than the context", COMPLETIONS, {**W, "prompt": "x" * 30, "max_tokens": 35}, 400,
        "max_tokens is 35; after a prompt of 31 tokens up to 34 are allowed, since writer has a context of 64.",
        "max_tokens",
    ),
    (
        "longer than both limits", COMPLETIONS, {**W, "prompt": "x" * 30, "max_tokens": 900}, 400,
        "after a prompt of 31 tokens up to 34 are allowed", "max_tokens",
    ),
    ("endless", COMPLETIONS, {**W, "max_tokens": 10**300}, 400, "max_tokens is 1000", "max_tokens"),
    ("five stops", COMPLETIONS, {**W, "stop": list("abcde")}, 400, "stop holds 5 texts; up to 4", "stop"),
    ("empty stop", COMPLETIONS, {**W, "stop": ""}, 400, "1 to 100 characters", "stop"),
    ("misspelt", COMPLETIONS, {**W, "max_token": 5}, 400, "did you mean max_tokens?", "max_token"),
    ("unknown field", COMPLETIONS, {**W, "zzz": 5}, 400, "zzz is not a field of this request; leave it out", "zzz"),
    ("stream as text", COMPLETIONS, {**W, "stream": "yes"}, 400, "must be true or false", "stream"),
    ("classify with a writer", CLASSIFY, {**J, "model": "writer"}, 400, "ask it at /v1/completions", "model"),
    ("classify an unknown", CLASSIFY, {**J, "model": "?"}, 404, "no model '?' here", "model"),
    ("no input", CLASSIFY, {"model": "judge"}, 400, "input is missing", "input"),
    ("no inputs", CLASSIFY, {**J, "input": []}, 400, "input is an empty list", "input"),
    ("an empty input", CLASSIFY, {**J, "input": ["a", " "]}, 400, "input holds an empty text", "input"),
    ("too many inputs", CLASSIFY, {**J, "input": ["a"] * 11}, 400, "input holds 11 texts; up to 10", "input"),
    ("a long input", CLASSIFY, {**J, "input": ["a", "é" * 25]}, 400, "a text of 50 tokens; up to 40", "input"),
    ("input of null", CLASSIFY, {**J, "input": None}, 400, "input is null", "input"),
    ("a large body", COMPLETIONS, {**W, "prompt": "x" * 5000}, 413, "larger than 4096 bytes", None),
    ("a huge body", CLASSIFY, b"x" * 100_000, 413, "larger than 4096 bytes", None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "body", "status", "words", "param"), [row[1:] for row in BAD], ids=[row[0] for row in BAD]
)
def test_refuses(server: Server, path: str, body: Any, status: int, words: str, param: str | None) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = server.ask("POST", path, content=content, headers={"content-type": "application/json"})
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (status, param), error
    assert words in error["message"]
    assert error["message"].count("\n") == 0
    assert len(error["message"]) < 250
    assert set(error) == {"message", "type", "param", "code"}
    assert server.writer.samplings == []
    assert server.judge.batches == []


def test_refuses_a_body_that_is_not_sent_as_json(server: Server) -> None:
    response = server.ask("POST", COMPLETIONS, data={"model": "writer", "prompt": "x"})
    assert response.status_code == 415
    assert "application/json" in response.json()["error"]["message"]


def test_refuses_what_is_not_there(server: Server) -> None:
    response = server.ask("GET", "/v2/completions")
    assert (response.status_code, response.json()["error"]["type"]) == (404, "not_found_error")
    response = server.ask("GET", COMPLETIONS)
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert response.json()["error"]["message"] == f"{COMPLETIONS} does not take GET requests; send POST."
    assert server.ask("POST", "/v1/models").json()["error"]["message"].endswith("send GET.")
    assert server.sample("langmill_requests_total", route="other", status="404") == 1
    response = server.ask("POST", f"{COMPLETIONS}/", json=W)
    assert (response.status_code, "location" in response.headers) == (404, False)


def test_a_body_in_chunks_is_counted_too(server: Server) -> None:
    async def chunks() -> Any:
        for _ in range(100):
            yield b"x" * 1000

    async def main() -> httpx.Response:
        async with server.client() as client:
            return await client.post(COMPLETIONS, content=chunks())

    assert asyncio.run(main()).status_code == 413


def test_a_body_that_does_not_arrive_is_given_up(server: Server) -> None:
    server.settings = replace(server.settings, body_seconds=0.05)

    async def slow() -> Any:
        yield b"{"
        await asyncio.sleep(5)

    async def main() -> httpx.Response:
        async with server.client() as client:
            return await client.post(COMPLETIONS, content=slow())

    response = asyncio.run(main())
    assert response.status_code == 408
    assert "did not arrive within 0.05 s" in response.json()["error"]["message"]
    assert response.headers["connection"] == "close"


def test_large_headers_are_refused(server: Server) -> None:
    response = server.ask("GET", "/v1/models", headers={"x-large": "x" * 40_000})
    assert response.status_code == 431


def test_one_request_asks_for_no_more_than_can_ever_wait(server: Server) -> None:
    server.settings = replace(server.settings, max_waiting_tokens=50)
    answer = completion(server, prompt=["x" * 30] * 2)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "prompt")
    assert "has 62 tokens to be read; up to 50" in answer.json()["error"]["message"]
    assert completion(server, prompt="x" * 35).status_code == 200


def test_says_503_and_when_to_come_back(server: Server) -> None:
    server.engine.drain()
    response = completion(server)
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert response.json()["error"]["code"] == "stopping"


def test_a_crowd_is_served_or_turned_away(server: Server) -> None:
    server.writer.seconds = 0.005

    async def main() -> list[httpx.Response]:
        async with server.client() as client:
            posts = [client.post(COMPLETIONS, json={**W, "max_tokens": 20}) for _ in range(8)]
            return await asyncio.gather(*posts)

    answers = asyncio.run(main())
    statuses = [answer.status_code for answer in answers]
    assert sorted(set(statuses)) == [200, 503]
    assert statuses.count(200) == 3  # two run, one waits
    assert all(answer.json()["error"]["code"] == "overloaded" for answer in answers if answer.status_code == 503)
    assert server.engine.load == 0
