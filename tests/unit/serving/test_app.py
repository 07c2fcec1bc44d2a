"""The HTTP interface: what it answers, and how it refuses."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import math
import re
import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.requests import ClientDisconnect

from langmill.config.compose import compose_serving
from langmill.errors import ServingError
from langmill.models.generation.config import GenerationConfig, Sampling
from langmill.serving.engine import LoadedVersion
from langmill.serving.keys import key_line, read_keys
from langmill.serving.streaming import EventStream
from tests.unit.serving.conftest import Server, Writer, loaded, loaded_version

pytestmark = pytest.mark.unit
COMPLETIONS, CLASSIFY = "/v1/completions", "/v1/classify"


def completion(server: Server, **fields: Any) -> httpx.Response:
    return server.ask("POST", COMPLETIONS, json={"model": "writer", "prompt": "x", **fields})


def classify(server: Server, texts: Any, **fields: Any) -> httpx.Response:
    return server.ask("POST", CLASSIFY, json={"model": "judge", "input": texts, **fields})


def test_a_completion_says_who_wrote_it(server: Server) -> None:
    answer = completion(server, prompt="two", max_tokens=5).json()
    assert re.fullmatch(r"cmpl-[0-9a-f]{24}", answer.pop("id"))
    assert isinstance(answer.pop("created"), int)
    assert answer == {
        "object": "text_completion",
        "model": "writer",
        "version": 3,
        "system_fingerprint": "writer:3",
        "choices": [{"index": 0, "text": "abcde", "logprobs": None, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 4, "completion_tokens": 5, "total_tokens": 9},
    }
    assert server.sample("langmill_generated_tokens_total", model="writer") == 5
    assert server.sample("langmill_prompt_tokens_total", model="writer") == 4
    assert server.sample("langmill_requests_total", route=COMPLETIONS, status="200") == 1


def test_the_sampling_is_the_one_asked_for(server: Server) -> None:
    completion(server, max_tokens=7, temperature=0.5, top_p=0.9, top_k=3, seed=11)
    assert server.writer.samplings == [
        Sampling(
            max_new_tokens=7,
            temperature=0.5,
            top_k=3,
            top_p=0.9,
            min_p=0.0,
            repetition_penalty=1.0,
            seed=11,
            stop_ids=(256,),
        )
    ]


def test_defaults_are_the_models_own_and_the_seed_is_drawn(server: Server) -> None:
    completion(server)
    completion(server, temperature=1, top_p=1, n=1, best_of=1, echo=False, logprobs=None, presence_penalty=0.0)
    first, second = server.writer.samplings
    # The model has 64 tokens, and the server gives no more than 50.
    assert (first.max_new_tokens, first.temperature, first.top_k, first.top_p) == (50, 1.0, 0, 1.0)
    assert first.seed != second.seed


def test_an_empty_prompt_begins_a_new_text_and_a_list_of_one_is_that_one(server: Server) -> None:
    assert completion(server, prompt="").json()["usage"]["prompt_tokens"] == 1
    assert completion(server, prompt=["abc"]).json()["usage"]["prompt_tokens"] == 4


def test_stops_before_a_stop_string(server: Server) -> None:
    choice = completion(server, stop=["fg", "zz"], max_tokens=20).json()["choices"][0]
    assert (choice["text"], choice["finish_reason"]) == ("abcde", "stop")
    assert completion(server, stop="c").json()["choices"][0]["text"] == "ab"


def events(response: httpx.Response) -> list[Any]:
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.text.endswith("\n\n")
    data = [part.removeprefix("data: ") for part in response.text.split("\n\n")[:-1]]
    return [each if each == "[DONE]" else json.loads(each) for each in data]


def test_a_stream_is_the_same_text_in_chunks(server: Server) -> None:
    server.writer.text = "aé😀b"
    *chunks, done = events(completion(server, stream=True))
    assert done == "[DONE]"
    assert [chunk["choices"][0]["text"] for chunk in chunks] == ["a", "é", "😀", "b", ""]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * 4 + ["stop"]
    assert {(chunk["model"], chunk["version"], chunk["system_fingerprint"]) for chunk in chunks} == {
        ("writer", 3, "writer:3")
    }
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert server.sample("langmill_first_token_seconds_count", model="writer") == 1


def test_a_stream_gives_the_usage_when_asked(server: Server) -> None:
    *_, last, done = events(completion(server, stream=True, max_tokens=4, stream_options={"include_usage": True}))
    assert done == "[DONE]"
    assert (last["choices"], last["usage"]) == (
        [],
        {"prompt_tokens": 2, "completion_tokens": 4, "total_tokens": 6},
    )


def test_a_stream_that_breaks_says_so(server: Server) -> None:
    server.writer.fails_after = 3
    *chunks, last = events(completion(server, stream=True))
    assert [chunk["choices"][0]["text"] for chunk in chunks] == ["a", "b", "c"]
    assert last["error"]["type"] == "server_error"
    assert "RuntimeError" in last["error"]["message"]


def test_a_model_that_fails_is_a_500_with_a_reason(server: Server) -> None:
    server.writer.fails_after = 0
    for stream in (False, True):
        response = completion(server, stream=stream)
        assert (response.status_code, response.json()["error"]["type"]) == (500, "server_error")


def test_classification_gives_every_labels_probability(server: Server) -> None:
    answer = classify(server, ["x" * 20, "x" * 90 + " too long"[:0]][:1]).json()
    assert answer == {
        "object": "list",
        "model": "judge",
        "version": 7,
        "system_fingerprint": "judge:7",
        "data": [
            {
                "index": 0,
                "label": "negative",
                "probability": 0.8,
                "probabilities": {"negative": 0.8, "positive": 0.2},
                "truncated": False,
            }
        ],
        "usage": {"prompt_tokens": 20, "completion_tokens": 0, "total_tokens": 20},
    }


def test_classification_keeps_the_order_of_its_inputs(server: Server) -> None:
    lengths = [9, 2, 40, 1, 33, 7, 8, 20, 4, 5]
    data = classify(server, ["x" * length for length in lengths]).json()["data"]
    assert [round(100 * each["probabilities"]["positive"]) for each in data] == lengths
    assert [each["index"] for each in data] == list(range(10))


def test_a_text_that_the_model_cuts_is_marked(server: Server) -> None:
    server.settings.max_prompt_tokens = 100
    data = classify(server, ["x" * 64, "x" * 65]).json()["data"]
    assert [each["truncated"] for each in data] == [False, True]
    assert server.sample("langmill_truncated_texts_total", model="judge") == 1


B = {"model": "writer", "prompt": "x", "num_beams": 2, "temperature": 0}
W, J = {"model": "writer", "prompt": "x"}, {"model": "judge", "input": "x"}
BAD: list[tuple[str, str, Any, int, str, str | None]] = [
    ("not json", COMPLETIONS, b'{"model": "wri', 400, "not valid JSON", None),
    ("deeply nested", COMPLETIONS, b"[" * 2000, 400, "not valid JSON", None),
    ("no body", COMPLETIONS, b"", 400, "not a JSON object", None),
    ("a list", COMPLETIONS, [1], 400, "not a JSON object", None),
    ("no model", COMPLETIONS, {"prompt": "x"}, 400, "model is missing", "model"),
    ("unknown model", COMPLETIONS, {**W, "model": "gpt"}, 404, "no model 'gpt' here; served: writer, judge", "model"),
    ("model of the other kind", COMPLETIONS, {**W, "model": "judge"}, 400, "ask it at /v1/classify", "model"),
    ("no prompt", COMPLETIONS, {"model": "writer"}, 400, "prompt is missing", "prompt"),
    ("prompt is a number", COMPLETIONS, {**W, "prompt": 5}, 400, "prompt is 5; it must be a list of", "prompt"),
    ("two prompts", COMPLETIONS, {**W, "prompt": ["a", "b"]}, 400, "holds 2 texts; send one", "prompt"),
    ("tokens as prompt", COMPLETIONS, {**W, "prompt": [1, 2]}, 400, "prompt is [1, 2]; it must be a text", "prompt"),
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
    ("unbounded n", COMPLETIONS, {**W, "n": 10**9}, 400, "n is 1000000000; this server offers 1 only", "n"),
    ("best of many", COMPLETIONS, {**W, "best_of": 50}, 400, "best_of is 50; this server offers 1 only", "best_of"),
    ("penalty", COMPLETIONS, {**W, "presence_penalty": 0.5}, 400, "offers 0 only", "presence_penalty"),
    ("logprobs", COMPLETIONS, {**W, "logprobs": 5}, 400, "logprobs asks for something", "logprobs"),
    ("no logprobs", COMPLETIONS, {**W, "logprobs": 0}, 400, "logprobs asks for something", "logprobs"),
    ("false logprobs", COMPLETIONS, {**W, "logprobs": False}, 400, "logprobs is false; it must be", "logprobs"),
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
    assert "does not take GET" in response.json()["error"]["message"]
    assert server.sample("langmill_requests_total", route="other", status="404") == 1


def test_a_body_in_chunks_is_counted_too(server: Server) -> None:
    async def chunks() -> Any:
        for _ in range(100):
            yield b"x" * 1000

    async def main() -> httpx.Response:
        async with server.client() as client:
            return await client.post(COMPLETIONS, content=chunks())

    assert asyncio.run(main()).status_code == 413


def test_a_body_that_does_not_arrive_is_given_up(server: Server) -> None:
    server.settings.body_seconds = 0.05

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


def test_lists_its_models(server: Server) -> None:
    cards = server.ask("GET", "/v1/models").json()["data"]
    assert [(card["id"], card["version"], card["endpoints"], card["labels"]) for card in cards] == [
        ("writer", 3, [COMPLETIONS], []),
        ("judge", 7, [CLASSIFY], ["negative", "positive"]),
    ]
    assert cards[0]["max_prompt_tokens"] == 40  # the server's limit; the model could look back on 64
    assert (cards[0]["max_tokens"], cards[0]["context_length"]) == (50, 64)
    server.settings.max_new_tokens = 512  # more than the model can
    assert server.ask("GET", "/v1/models").json()["data"][0]["max_tokens"] == 64
    assert completion(server, prompt="", max_tokens=64).json()["usage"]["completion_tokens"] == 64
    assert completion(server, prompt="", max_tokens=65).json()["error"]["code"] == "context_length_exceeded"


def test_what_is_not_asked_for_is_not_refused_where_the_context_ends(server: Server) -> None:
    server.settings.max_prompt_tokens = 64
    assert completion(server, prompt="x" * 63).json()["usage"]["completion_tokens"] == 1


class Searcher(Writer):
    """Searches with four beams where the asker does not say."""

    generation_config = GenerationConfig(64, temperature=0.0, num_beams=4)

    def search(self, network: Any, tokenizer: Any, prompt_ids: Any, beams: Any) -> Any:
        self.samplings.append(beams)
        yield None
        return list(b"found")


def test_a_search_of_the_models_own_ignores_nothing_either(server: Server) -> None:
    searcher = Searcher()
    server.engine.publish(LoadedVersion("writer", 5, loaded(searcher), longest_token=1))
    assert completion(server).json()["choices"][0]["text"] == "found"
    assert completion(server, temperature=1e-38, length_penalty=2.0).json()["choices"][0]["text"] == "found"
    assert completion(server, num_beams=2).json()["choices"][0]["text"] == "found"
    found = [(beams.num_beams, beams.length_penalty) for beams in searcher.samplings]
    assert found == [(4, 1.0), (4, 2.0), (2, 1.0)]
    assert completion(server, top_p=0.5).json()["error"]["param"] == "top_p"
    assert completion(server, seed=1).json()["error"]["param"] == "seed"
    assert completion(server, num_beams=1, seed=1, top_p=0.5).status_code == 200


def test_is_ready_when_everything_is(server: Server) -> None:
    response = server.ask("GET", "/ready")
    assert response.status_code == 200
    assert response.json() == {
        "ready": True,
        "reasons": [],
        "models": {"writer": {"version": 1, "source": "registry"}, "judge": {"version": 1, "source": "registry"}},
    }


def not_ready(server: Server) -> str:
    response = server.ask("GET", "/ready")
    assert (response.status_code, response.json()["ready"]) == (503, False)
    return " ".join(response.json()["reasons"])


def test_is_not_ready_without_a_loaded_version(server: Server) -> None:
    server.follower.alias_states["judge"].version = None
    server.follower.alias_states["judge"].trouble = "The registry names no champion of judge."
    assert "judge has no version in service: The registry names no champion" in not_ready(server)


def test_is_not_ready_while_stopping(server: Server) -> None:
    server.engine.drain()
    assert "stopping" in not_ready(server)
    assert server.ask("GET", "/live").status_code == 200


def test_is_not_ready_when_a_thread_has_died(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.follower.dead = "The thread that follows the registry has ended."
    assert "follows the registry" in not_ready(server)
    assert server.ask("GET", "/live").json() == {"live": True}  # what is in service goes on
    monkeypatch.setattr(server.engine, "_thread", threading.Thread())
    assert "runs the models has ended" in not_ready(server)
    response = server.ask("GET", "/live")
    assert (response.status_code, response.json()) == (503, {"live": False})
    assert server.sample("langmill_engine_up") == 0


def test_is_not_alive_while_the_model_is_stuck(server: Server) -> None:
    assert compose_serving().stalled_seconds < 5
    server.engine._stalled_seconds = 0.3
    server.writer.seconds = 1.5

    async def main() -> list[int]:
        async with server.client() as client:
            stuck = asyncio.create_task(client.post(COMPLETIONS, json={**W, "max_tokens": 1}))
            await asyncio.sleep(0.1)
            statuses = [(await client.get("/live")).status_code]
            await asyncio.sleep(0.6)
            statuses.append((await client.get("/live")).status_code)
            await stuck
            return [*statuses, (await client.get("/live")).status_code]

    assert asyncio.run(main()) == [200, 503, 200]


def test_a_configured_model_without_a_version_is_a_503(server: Server) -> None:
    server.settings.recipes.append("to-come")
    response = completion(server, model="to-come")
    assert (response.status_code, response.json()["error"]["code"]) == (503, "model_not_ready")


def test_a_swap_shows_in_the_next_answer(server: Server) -> None:
    server.engine.publish(loaded_version("writer", 4, server.writer))
    assert completion(server).json()["version"] == 4


def test_counts_for_prometheus(server: Server) -> None:
    completion(server, max_tokens=5)
    completion(server, max_tokens=0)
    text = server.ask("GET", "/metrics").text
    assert 'langmill_requests_total{route="/v1/completions",status="200"} 1.0' in text
    assert 'langmill_requests_total{route="/v1/completions",status="400"} 1.0' in text
    assert 'langmill_request_seconds_count{route="/v1/completions"} 2.0' in text
    assert 'langmill_generated_tokens_total{model="writer"} 5.0' in text
    assert 'langmill_model_version{model="judge"} 7.0' in text
    assert "langmill_waiting_requests 0.0" in text
    assert "langmill_engine_up 1.0" in text


def test_wants_a_key_where_keys_are_set(server: Server, tmp_path: Any) -> None:
    lines = f"# who may ask\n{key_line('first-key')}\n\n  {key_line('second-key')}  # a laptop\n"
    (tmp_path / "keys").write_text(lines, encoding="utf-8")
    server.keys = read_keys(str(tmp_path / "keys"))
    assert len(server.keys) == 2
    assert "first-key" not in lines
    for path in ("/", "/live", "/ready"):
        assert server.ask("GET", path).status_code == 200, path
    digest = key_line("first-key")
    for headers in (
        {}, {"authorization": "Bearer wrong"}, {"authorization": "first-key"}, {"authorization": "Bearer"},
        {"authorization": f"Bearer {digest}"}, {"authorization": f"Bearer {digest.removeprefix('sha256:')}"},
    ):  # fmt: skip
        for method, path in (
            ("GET", "/v1/models"),
            ("POST", COMPLETIONS),
            ("POST", CLASSIFY),
            ("GET", "/openapi.json"),
            ("GET", "/metrics"),
        ):
            response = server.ask(method, path, headers=headers)
            assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key"), path
            assert response.headers["www-authenticate"] == "Bearer"
    for key in ("first-key", "second-key"):
        for path in ("/v1/models", "/metrics"):
            assert server.ask("GET", path, headers={"authorization": f"Bearer {key}"}).status_code == 200


def test_error_texts_are_for_those_with_a_key(server: Server) -> None:
    server.follower.alias_states["judge"].trouble = "The registry can't be asked: postgresql://me:secret@db"
    server.follower.alias_states["writer"].version = None
    server.keys = (hashlib.sha256(b"first-key").digest(),)
    response = server.ask("GET", "/ready")
    assert (response.status_code, response.json()) == (
        503,
        {"ready": False, "models": {"writer": {"ready": False}, "judge": {"ready": True}}},
    )
    shown = server.ask("GET", "/ready", headers={"authorization": "Bearer first-key"})
    assert (shown.status_code, len(shown.json()["reasons"])) == (503, 1)
    assert "secret" in shown.json()["models"]["judge"]["registry"]


def test_a_key_file_that_lets_nobody_in_is_refused(tmp_path: Any) -> None:
    with pytest.raises(ServingError, match="can't be read"):
        read_keys(str(tmp_path / "none"))
    (tmp_path / "empty").write_text("# nobody\n", encoding="utf-8")
    with pytest.raises(ServingError, match="holds no key"):
        read_keys(str(tmp_path / "empty"))
    assert read_keys(None) == ()


@pytest.mark.parametrize("clear", ["open-sesame", "0" * 64, "sha256:" + "0" * 63])
def test_a_key_in_clear_is_refused_and_not_shown(tmp_path: Any, clear: str) -> None:
    (tmp_path / "keys").write_text(f"{key_line('good')}\n{clear}\n", encoding="utf-8")
    with pytest.raises(ServingError, match=r"Line 2 .*`langmill key --convert") as refused:
        read_keys(str(tmp_path / "keys"))
    assert clear not in str(refused.value)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200), ("LOCALHOST:8000", 200), ("localhost.", 200), ("127.0.0.1:1", 200), ("[::1]:80", 200),
        ("server", 200), ("models.example.org", 200), ("192.0.2.7:8000", 200),
        ("evil.example", 403), ("evil.example:8000", 403), ("localhost.evil.example", 403), ("", 403),
        ("127.0.0.1.evil.example", 403), ("localhost@evil.example", 403), ("[::1]evil", 403), ("192.0.2.8", 403),
    ],
)  # fmt: skip
def test_answers_only_to_its_own_names(server: Server, host: str, status: int) -> None:
    server.settings.host = "192.0.2.7"
    server.settings.allowed_hosts.append("Models.example.org")
    for method, path in (("GET", "/live"), ("GET", "/"), ("GET", "/v1/models"), ("POST", CLASSIFY)):
        response = server.ask(method, path, headers={"host": host}, json=J if method == "POST" else None)
        assert response.status_code == status, path
        if status == 403:
            assert "add its name to serving.allowed_hosts" in response.json()["error"]["message"]
    server.settings.allowed_hosts.append("*")
    assert server.ask("GET", "/live", headers={"host": host}).status_code == 200


def test_the_page_needs_nothing_from_elsewhere(server: Server) -> None:
    response = server.ask("GET", "/")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    outside = re.findall(r"""(?:src|href)=["'](?!data:|/v1/|/ready|/metrics|/openapi)[^"']*""", response.text)
    assert outside == []
    assert "https://" not in response.text
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy
    assert len(re.findall("sha256-", policy)) == 2


def test_the_api_describes_itself(server: Server) -> None:
    paths = server.ask("GET", "/openapi.json").json()["paths"]
    assert {"/v1/completions", "/v1/classify", "/v1/models", "/ready", "/live", "/metrics"} <= set(paths)


def test_a_client_that_leaves_frees_the_engine(server: Server) -> None:
    """Spoken to in plain ASGI, since httpx's transport has no way to hang up."""
    server.writer.seconds = 0.01

    async def leave(stream: bool) -> list[Any]:
        body = json.dumps({**W, "max_tokens": 50, "stream": stream}).encode()
        sent: list[Any] = []
        inbox = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Any:
            if inbox:
                return inbox.pop()
            await asyncio.sleep(0.08)
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        async with server.client() as client:
            app = client._transport.app  # type: ignore[attr-defined]
            scope = {
                "type": "http", "method": "POST", "path": COMPLETIONS, "raw_path": COMPLETIONS.encode(),
                "query_string": b"", "headers": [(b"content-type", b"application/json")], "client": ("c", 1),
                "server": ("s", 1), "scheme": "http", "http_version": "1.1", "asgi": {"version": "3.0"},
            }  # fmt: skip
            await app(scope, receive, send)
        return sent

    for stream in (False, True):
        made = server.writer.tokens_made
        asyncio.run(leave(stream))
        for _ in range(100):
            if not server.engine.load:
                break
            asyncio.run(asyncio.sleep(0.01))
        assert server.engine.load == 0
        assert server.writer.tokens_made - made < 40
    assert math.isclose(server.sample("langmill_requests_cancelled_total") or 0, 2)


def test_a_client_that_leaves_before_the_first_event_cancels_its_stream() -> None:
    class ResponseStream:
        cancelled = False

        def cancel(self) -> None:
            self.cancelled = True

    async def events() -> AsyncIterator[dict[str, Any]]:
        yield {"text": "never read"}

    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def send(message: object) -> None:
        raise OSError("the client has gone")

    stream = ResponseStream()
    response = EventStream(events(), stream)  # type: ignore[arg-type]
    scope = {"type": "http", "asgi": {"spec_version": "2.4"}}
    with contextlib.suppress(ClientDisconnect):
        asyncio.run(response(scope, receive, send))  # type: ignore[arg-type]
    assert stream.cancelled
