"""The HTTP interface: what it answers."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
from typing import Any

import httpx
import pytest

from langmill.config.compose import compose_serving
from langmill.models.generation.config import GenerationConfig, Sampling
from langmill.serving.jobs import LoadedVersion
from langmill.serving.routes.page import PageFile
from tests.unit.serving.conftest import (
    CLASSIFY,
    COMPLETIONS,
    Server,
    W,
    Writer,
    classify,
    completion,
    loaded,
    loaded_version,
)

pytestmark = pytest.mark.unit


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
            max_new_tokens=7, temperature=0.5, top_k=3, top_p=0.9, min_p=0.0, repetition_penalty=1.0, seed=11,
            stop_ids=(256,),
        )
    ]  # fmt: skip


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
    server.settings = dataclasses.replace(server.settings, max_prompt_tokens=100)
    data = classify(server, ["x" * 64, "x" * 65]).json()["data"]
    assert [each["truncated"] for each in data] == [False, True]
    assert server.sample("langmill_truncated_texts_total", model="judge") == 1


def test_lists_its_models(server: Server) -> None:
    cards = server.ask("GET", "/v1/models").json()["data"]
    assert [(card["id"], card["version"], card["endpoints"], card["labels"]) for card in cards] == [
        ("writer", 3, [COMPLETIONS], []),
        ("judge", 7, [CLASSIFY], ["negative", "positive"]),
    ]
    assert cards[0]["examples"] == {COMPLETIONS: {"prompt": "The film", "max_tokens": 40, "temperature": 0.7}}
    assert cards[0]["max_prompt_tokens"] == 40  # the server's limit; the model's context is 64
    assert (cards[0]["max_tokens"], cards[0]["context_length"]) == (50, 64)
    assert cards[0]["defaults"] == {
        "max_tokens": 50, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0,
        "num_beams": 1, "length_penalty": 1.0,
    }  # fmt: skip
    assert (cards[1]["max_tokens"], cards[1]["defaults"]) == (None, None)
    server.settings = dataclasses.replace(server.settings, max_new_tokens=512)  # more than the model can
    assert server.ask("GET", "/v1/models").json()["data"][0]["max_tokens"] == 64
    assert completion(server, prompt="", max_tokens=64).json()["usage"]["completion_tokens"] == 64
    assert completion(server, prompt="", max_tokens=65).json()["error"]["code"] == "context_length_exceeded"


def test_what_is_not_asked_for_is_not_refused_where_the_context_ends(server: Server) -> None:
    server.settings = dataclasses.replace(server.settings, max_prompt_tokens=64)
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

    def defaults() -> Any:
        return server.ask("GET", "/v1/models").json()["data"][0]["defaults"]

    assert (defaults()["num_beams"], defaults()["temperature"]) == (4, 0.0)
    server.settings = dataclasses.replace(server.settings, max_beams=3)
    assert defaults()["num_beams"] == 1, "the server allows no such search"


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
    state = server.follower.alias_states["judge"]
    state.loaded = None
    assert "judge has no version in service: The registry is still to be asked." in not_ready(server)
    state.trouble = "The registry names no champion of judge."
    assert "judge has no version in service: The registry names no champion" in not_ready(server)
    state.coming = 3
    assert "judge has no version in service: Version 3 is being loaded." in not_ready(server)


def test_is_not_ready_while_stopping(server: Server) -> None:
    server.engine.drain()
    assert "stopping" in not_ready(server)
    assert server.ask("GET", "/live").status_code == 200


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_is_not_ready_when_a_thread_has_died(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.follower.dead = "The thread that follows the registry has ended."
    assert "follows the registry" in not_ready(server)
    assert server.ask("GET", "/live").json() == {"live": True}  # what is in service goes on

    def die() -> None:
        raise SystemExit

    monkeypatch.setattr(server.engine, "_retire", die)
    assert completion(server).status_code == 500
    server.engine._thread.join(5)
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


def test_the_page_needs_nothing_from_elsewhere(server: Server) -> None:
    response = server.ask("GET", "/")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    outside = re.findall(r"""(?:src|href)=["'](?!data:|/page/|/v1/|/ready|/metrics|/openapi)[^"']*""", response.text)
    assert outside == []
    assert "https://" not in response.text
    assert not re.search(r"<style|<script>|\sstyle=|\son\w+=|{{", response.text), (
        "the policy allows nothing inside the page"
    )
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    others = {"page.py", "..%2fpage.py", "index.html"}

    async def fetch() -> dict[str, httpx.Response]:
        async with server.client() as client:
            return {name: await client.get(f"/page/{name}") for name in PageFile.names | others}

    files = asyncio.run(fetch())
    assert {files.pop(name).status_code for name in others} == {404}
    for name, file in files.items():
        assert file.headers["content-type"] == f"text/{'css' if name.endswith('css') else 'javascript'}; charset=utf-8"
        assert file.headers["x-content-type-options"] == "nosniff"
        assert not re.search(r"https?://(?!www\.w3\.org)", file.text)
        assert set(re.findall(r'from "\./([^"]+)"', file.text)) <= PageFile.names
        assert "/v1/" not in file.text, f"{name} names a model's route"


def test_the_api_describes_itself(server: Server) -> None:
    paths = server.ask("GET", "/openapi.json").json()["paths"]
    assert {"/v1/completions", "/v1/classify", "/v1/models", "/ready", "/live", "/metrics"} <= set(paths)
