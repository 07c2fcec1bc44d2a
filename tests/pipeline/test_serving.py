"""A real server over real models and a real registry: answers, swaps under load, drains."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from langmill.models.generation.config import Sampling
from langmill.tasks.base import Classifies, Generates
from langmill.tasks.loading import load_model
from tests.pipeline.served import Process, Workspace, make_model, wait_for

pytestmark = pytest.mark.pipeline


@pytest.fixture(scope="module")
def workspace(copy_database: Callable[[Path], None], tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Two models with two versions each; version 1 is champion."""
    root = tmp_path_factory.mktemp("serving")
    copy_database(root)
    made = Workspace(root)
    for name, task in (("tiny-lm", "language_modelling"), ("tiny-judge", "classification")):
        for seed in (1, 2):
            made.register(name, task, seed)
        made.promote(name, 1)
    return made


@pytest.fixture(scope="module")
def server(workspace: Workspace) -> Iterator[Process]:
    with workspace.serving() as process:
        yield process.until_ready()


def test_the_curl_lines_it_prints_work_as_pasted(server: Process) -> None:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")
    commands = [line for line in server.lines if line.startswith("  curl")]
    answers = []
    for command in commands:
        done = subprocess.run(shlex.split(command), capture_output=True, text=True, check=True, timeout=30)
        answers.append(json.loads(done.stdout))
    assert [(answer["model"], answer["version"]) for answer in answers] == [("tiny-lm", 1), ("tiny-judge", 1)]
    assert answers[0]["usage"]["completion_tokens"] >= 1
    assert answers[1]["data"][0]["label"] in ("negative", "positive")


def test_answers_are_those_of_the_models_themselves(server: Process, workspace: Workspace) -> None:
    model = load_model(workspace.root / "made" / "tiny-lm-1", verify=True)
    assert isinstance(model.task, Generates)
    sampling = Sampling(
        max_new_tokens=30,
        temperature=0.9,
        top_k=20,
        top_p=0.95,
        min_p=0.0,
        repetition_penalty=1.0,
        seed=5,
        stop_ids=(model.tokenizer.eot_id,),
    )
    prompt = model.task.prompt_ids(model.tokenizer, "It was")
    expected = model.tokenizer.decode(list(model.task.generate(model.network, prompt, sampling)))
    asked = {"max_tokens": 30, "temperature": 0.9, "top_k": 20, "top_p": 0.95, "seed": 5}
    assert server.complete(**asked).json()["choices"][0]["text"] == expected
    streamed = ""
    with server.client.stream(
        "POST", "/v1/completions", json={"model": "tiny-lm", "prompt": "It was", "stream": True, **asked}
    ) as response:
        for line in response.iter_lines():
            if line.startswith("data: {"):
                streamed += json.loads(line.removeprefix("data: "))["choices"][0]["text"]
    assert streamed == expected

    judge = load_model(workspace.root / "made" / "tiny-judge-1", verify=True)
    assert isinstance(judge.task, Classifies)
    texts = ["A fine film.", "Nothing works, not even the end of it all, he said.", "x"]
    with torch.inference_mode():
        rows = judge.task.probabilities(judge.network, judge.tokenizer, texts)
    answer = server.classify(texts).json()
    for row, each in zip(rows, answer["data"], strict=True):
        assert list(each["probabilities"].values()) == pytest.approx(row, abs=1e-6)


def test_answers_are_those_of_transformers(server: Process, workspace: Workspace) -> None:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

    folder = workspace.root / "made" / "tiny-lm-1"
    tokenizer, network = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    encoded = tokenizer("It was", return_tensors="pt", return_token_type_ids=False)
    ids = network.generate(**encoded, do_sample=False, max_new_tokens=30)[0, encoded["input_ids"].shape[1] :]
    written = server.complete(max_tokens=30, temperature=0).json()["choices"][0]["text"]
    assert written == tokenizer.decode(ids, skip_special_tokens=True)
    assert written

    folder = workspace.root / "made" / "tiny-judge-1"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    judge = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True)
    texts = ["A fine film.", "Nothing works, not even the end of it all, he said."]
    encoded = tokenizer(texts, padding=True, return_tensors="pt", return_token_type_ids=False)
    with torch.inference_mode():
        rows = judge(**encoded).logits.softmax(dim=-1).tolist()
    for row, each in zip(rows, server.classify(texts).json()["data"], strict=True):
        assert list(each["probabilities"]) == list(judge.config.id2label.values())
        assert list(each["probabilities"].values()) == pytest.approx(row, abs=1e-5)


def test_the_same_seed_gives_the_same_text_among_others(server: Process) -> None:
    """Requests advance round-robin in one thread; none may disturb another's random numbers."""
    alone = server.complete(max_tokens=40, seed=3).json()["choices"][0]["text"]
    with httpx.Client(base_url=server.url, timeout=30) as client:
        results: list[str] = []

        def ask(seed: int) -> None:
            body = {"model": "tiny-lm", "prompt": "It was", "max_tokens": 40, "seed": seed}
            text = client.post("/v1/completions", json=body).json()["choices"][0]["text"]
            if seed == 3:
                results.append(text)

        threads = [threading.Thread(target=ask, args=(seed,)) for seed in (1, 2, 3, 4, 3, 5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [alone, alone]


BAD: list[tuple[str, Any, int, str]] = [
    ("/v1/completions", {"model": "tiny-lm"}, 400, "prompt is missing"),
    ("/v1/completions", {"model": "other", "prompt": "x"}, 404, "no model 'other'"),
    ("/v1/completions", {"model": "tiny-judge", "prompt": "x"}, 400, "ask it at /v1/classify"),
    ("/v1/completions", {"model": "tiny-lm", "prompt": "qz " * 60}, 400, "up to 100 are allowed"),
    ("/v1/completions", {"model": "tiny-lm", "prompt": "x", "max_tokens": 65}, 400, "up to 64 are allowed"),
    ("/v1/completions", {"model": "tiny-lm", "prompt": "x", "n": 1000}, 400, "up to 8 choices are allowed"),
    ("/v1/completions", b'{"model":"tiny-lm","prompt":"x","temperature":NaN}', 400, "temperature is NaN"),
    ("/v1/completions", {"model": "tiny-lm", "prompt": "x", "temperature": -1}, 400, "temperature is -1"),
    ("/v1/completions", b"{", 400, "not valid JSON"),
    ("/v1/completions", {"model": "tiny-lm", "prompt": "x" * 70000}, 413, "larger than 65536 bytes"),
    ("/v1/classify", {"model": "tiny-judge", "input": ["x"] * 9}, 400, "up to 8 are allowed"),
    ("/v1/classify", {"model": "tiny-judge", "input": [1]}, 400, "must be a text"),
    ("/v1/classify", {"model": "tiny-judge", "input": ""}, 400, "empty text"),
    ("/v1/classify", b"x" * 900_000, 413, "larger than 65536 bytes"),
    ("/v1/chat/completions", {"model": "tiny-lm", "messages": [{"role": "user", "content": "x"}]}, 400, "ask it at"),
    ("/v1/chat", {"model": "tiny-lm"}, 404, "nothing at /v1/chat"),
]


@pytest.mark.parametrize(("path", "body", "status", "words"), BAD)
def test_bad_input_is_refused_over_the_wire(server: Process, path: str, body: Any, status: int, words: str) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = server.client.post(path, content=content, headers={"content-type": "application/json"})
    assert response.status_code == status
    assert words in response.json()["error"]["message"]
    assert server.ready()[0] == 200


def test_an_oversized_header_is_refused(server: Process) -> None:
    with httpx.Client(base_url=server.url) as client:
        large = client.get("/v1/models", headers={"x-large": "x" * 100_000})
    assert large.status_code in (400, 431)  # the first when it comes in several pieces
    assert server.ready()[0] == 200


def test_a_client_that_hangs_up_cancels_its_generation(server: Process) -> None:
    before = server.metric("langmill_requests_cancelled_total")
    body = {"model": "tiny-lm", "prompt": "x", "max_tokens": 64, "stream": True, "temperature": 2.0}
    for attempt in range(20):  # the model may be done before the server notices
        with server.client.stream("POST", "/v1/completions", json={**body, "seed": attempt}) as response:
            next(response.iter_lines())
        time.sleep(0.05)
        if server.metric("langmill_requests_cancelled_total") > before:
            break
    assert server.metric("langmill_requests_cancelled_total") > before
    wait_for(lambda: server.metric("langmill_running_requests") == 0)


class Crowd:
    """Clients that ask without a pause and note every answer."""

    def __init__(self, url: str) -> None:
        self.answers: list[tuple[float, str, int, int | None]] = []
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._url = url
        kinds = ["plain", "stream", "classify", "plain"]
        self._threads = [threading.Thread(target=self._ask, args=(kind, seed)) for seed, kind in enumerate(kinds)]

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _ask(self, kind: str, seed: int) -> None:
        with httpx.Client(base_url=self._url, timeout=30) as client:
            while not self._stop.is_set():
                try:
                    status, version = getattr(self, f"_{kind}")(client, seed)
                except Exception as error:
                    self.failures.append(f"{kind}: {error!r}")
                else:
                    self.answers.append((time.monotonic(), kind, status, version))

    def _plain(self, client: httpx.Client, seed: int) -> tuple[int, int | None]:
        body = {"model": "tiny-lm", "prompt": "It was", "max_tokens": 24, "seed": seed}
        response = client.post("/v1/completions", json=body)
        return response.status_code, response.json().get("version")

    def _stream(self, client: httpx.Client, seed: int) -> tuple[int, int | None]:
        body = {"model": "tiny-lm", "prompt": "It was", "max_tokens": 24, "seed": seed, "stream": True}
        with client.stream("POST", "/v1/completions", json=body) as response:
            data = [line.removeprefix("data: ") for line in response.iter_lines() if line]
        assert data[-1] == "[DONE]", data[-1]
        versions = {json.loads(line)["version"] for line in data[:-1]}
        assert len(versions) == 1, "one answer came from two versions"
        return response.status_code, versions.pop()

    def _classify(self, client: httpx.Client, seed: int) -> tuple[int, int | None]:
        response = client.post("/v1/classify", json={"model": "tiny-judge", "input": ["A fine film.", "x"]})
        return response.status_code, response.json().get("version")


def test_a_moved_alias_changes_the_version_under_load_and_drops_nothing(server: Process, workspace: Workspace) -> None:
    with Crowd(server.url) as crowd:
        wait_for(lambda: len(crowd.answers) > 40)
        for version in (2, 1, 2):
            for name in ("tiny-lm", "tiny-judge"):
                workspace.promote(name, version)
            wait_for(lambda wanted=version: {each.get("version") for each in models(server)} == {wanted})
            seen = len(crowd.answers)
            wait_for(lambda count=seen: len(crowd.answers) > count + 40)
    assert crowd.failures == []
    assert Counter(status for _, _, status, _ in crowd.answers) == {200: len(crowd.answers)}
    for kind in ("plain", "stream", "classify"):
        versions = [version for _, each, _, version in sorted(crowd.answers) if each == kind]
        assert set(versions) == {1, 2}
    streamed = [version for _, kind, _, version in sorted(crowd.answers) if kind == "stream"]
    changes = [after for before, after in pairwise(streamed) if before != after]
    assert changes == [2, 1, 2], "one client, one request at a time: the versions follow the alias in order"
    assert server.metric('langmill_swap_failures_total{model="tiny-lm"}') == 0
    assert "tiny-lm: version 2 is in service, in place of 1." in server.output


def models(server: Process) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.client.get("/v1/models").json()["data"]
    return found


def test_a_damaged_version_never_goes_into_service(server: Process, workspace: Workspace) -> None:
    bad = workspace.register("tiny-lm", "language_modelling", 3)
    weights = workspace.registered_file("tiny-lm", bad.version, "model.safetensors")
    data = bytearray(weights.read_bytes())
    data[-5] ^= 1
    weights.write_bytes(data)
    before = server.complete().json()["version"]
    with Crowd(server.url) as crowd:
        workspace.promote("tiny-lm", bad.version)
        wait_for(lambda: server.metric('langmill_swap_failures_total{model="tiny-lm"}') == 1)
        time.sleep(0.5)  # five more looks: it is not tried again
    assert crowd.failures == []
    assert {version for _, kind, _, version in crowd.answers if kind != "classify"} == {before}
    assert server.metric('langmill_swap_failures_total{model="tiny-lm"}') == 1
    status, ready = server.ready()
    assert status == 200
    assert ready["models"]["tiny-lm"]["refused"]["version"] == bad.version
    assert "model.safetensors differ" in ready["models"]["tiny-lm"]["refused"]["reason"]
    workspace.promote("tiny-lm", before)
    wait_for(lambda: "refused" not in server.ready()[1]["models"]["tiny-lm"])


def test_the_page_and_the_api_are_there(server: Process) -> None:
    assert "<title>Langmill</title>" in server.client.get("/").text
    assert server.client.get("/openapi.json").json()["info"]["title"] == "Langmill"
    assert server.client.get("/live").json() == {"live": True}


def test_the_log_is_a_file_and_the_terminal_stays_calm(server: Process, workspace: Workspace) -> None:
    log = (workspace.root / ".langmill" / "logs" / "serve.log").read_text(encoding="utf-8")
    assert re.search(r"POST /v1/completions 200 \d+\.\d ms tiny-lm:1", log)
    assert "POST" not in server.output
    assert not re.search("warning|INFO|Traceback", server.output)


def test_stops_when_what_it_accepted_is_done(workspace: Workspace) -> None:
    with workspace.serving(max_running=1) as process:
        process.until_ready()
        done: list[tuple[int, int, bool]] = []

        def ask(seed: int) -> None:
            with httpx.Client(base_url=process.url, timeout=30) as client:
                body = {"model": "tiny-lm", "prompt": "x", "max_tokens": 64, "seed": seed, "stop": "\x00"}
                response = client.post("/v1/completions", json=body)
                done.append((response.status_code, seed, "choices" in response.json()))

        threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(12)]
        for thread in threads:
            thread.start()
        wait_for(lambda: process.metric("langmill_waiting_requests") >= 6)
        accepted = int(process.metric("langmill_waiting_requests")) + 1
        process.signal(signal.SIGTERM)
        for thread in threads:
            thread.join(30)
        assert process.exit_code() == 0, process.output
        finished = [seed for status, seed, whole in done if status == 200 and whole]
        assert len(finished) >= accepted - 1
        assert {status for status, _, _ in done} <= {200, 503}
        assert "Stopped; every request was answered." in process.output


def test_what_is_not_done_in_time_is_told_so(workspace: Workspace) -> None:
    with workspace.serving(drain_seconds=0.0, max_running=1) as process:
        process.until_ready()
        last: list[str] = []

        def ask(seed: int) -> None:
            body = {"model": "tiny-lm", "prompt": "x", "max_tokens": 64, "seed": seed, "stream": True}
            with (
                httpx.Client(base_url=process.url, timeout=60) as client,
                client.stream("POST", "/v1/completions", json=body) as response,
            ):
                last.append([line for line in response.iter_lines() if line][-1])

        threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(12)]
        for thread in threads:
            thread.start()
        wait_for(lambda: process.metric("langmill_waiting_requests") >= 6)
        process.signal(signal.SIGINT)
        for thread in threads:
            thread.join(60)
        assert process.exit_code() == 0, process.output
    cut_off = [line for line in last if "stopped before the answer was complete" in line]
    assert len(last) == 12, "every client got an end"
    assert len(cut_off) >= 6
    assert all("stopping" in line or line == "data: [DONE]" for line in last)
    assert re.search(r"Stopped; \d+ requests were broken off", process.output)


def test_a_model_made_elsewhere_is_no_surprise(tmp_path: Path) -> None:
    """The same seed gives the same folder: what the other tests compare with is what was registered."""
    first = make_model(tmp_path / "a", "r", "language_modelling", 9)
    second = make_model(tmp_path / "b", "r", "language_modelling", 9)
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()


def test_the_guides_commands_work(server: Process) -> None:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")
    guide = (Path(__file__).parents[2] / "docs" / "guides" / "serving.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```bash\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
    commands = [line for block in blocks for line in block.replace("\\\n", "").splitlines()]
    assert len(commands) == 7
    for command in commands:
        here = command.replace("http://127.0.0.1:8000", server.url)
        here = here.replace("reviews-lm", "tiny-lm").replace("sentiment", "tiny-judge")
        done = subprocess.run([*shlex.split(here), "--fail"], capture_output=True, text=True, check=True, timeout=30)
        assert "error" not in done.stdout.replace("error_", ""), command
