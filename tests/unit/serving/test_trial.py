"""A challenger on live traffic: who answers, what is compared, and what follows a breach."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from langmill.config.sections import Trial, TrialMode
from langmill.errors import FieldError, RegistryError
from langmill.serving.alias_state import RegisteredVersion
from langmill.serving.app import build_app
from langmill.serving.keys import KeyRing
from langmill.serving.service import Service
from langmill.serving.trial.pairs import Answer, Pair, measure, next_look, read_answer, sentence
from langmill.serving.trial.state import read_state
from langmill.serving.trial.trials import RunningTrial, Trials
from tests.refused import refused
from tests.unit.serving.conftest import CLASSIFY, COMPLETIONS, TRIAL, Judge, Server, Writer, loaded_version

pytestmark = pytest.mark.unit
SHADOW, CANARY = replace(TRIAL, mode=TrialMode.shadow), replace(TRIAL, mode=TrialMode.canary)
NEW = RegisteredVersion(9, "p9")


class World:
    """A server of which the judge has a challenger."""

    def __init__(self, server: Server, settings: Trial, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.said: list[str] = []
        self.stopped: list[tuple[str, int, str]] = []
        self.registry_is_down = False
        self.trials = Trials(settings, folder, self.stop, server.metrics.registry, self.said.append)
        self.challenger = Judge()

    def stop(self, name: str, version: int, reason: str, facts: Any) -> str:
        if self.registry_is_down:
            raise RegistryError("it is away", "unreachable")
        self.stopped.append((name, version, reason))
        assert facts["pairs"] > 0
        return "Version 7 stays champion."

    def begin(self, name: str = "judge", task: Any = None) -> RunningTrial:
        baseline = self.server.engine.loaded(name)
        assert baseline is not None
        assert self.trials.wants(name, 9, baseline.version, NEW)
        trial = RunningTrial(loaded_version(name, 9, task or self.challenger), baseline, NEW, promoted=False)
        self.trials.begin(trial)
        return trial

    def ask(self, count: int, path: str = CLASSIFY, ids: bool = False, **body: Any) -> list[httpx.Response]:
        """Answers to requests, one after the other; copies have been answered too when it returns."""
        body = body or {"model": "judge", "input": "x" * 30}
        server = self.server

        async def talk() -> list[httpx.Response]:
            service = Service(server.settings, server.engine, server.follower, server.metrics, 0, self.trials)
            transport = httpx.ASGITransport(build_app(service, KeyRing(None)), raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
                found = []
                for number in range(count):
                    headers = {"x-request-id": f"r{number}"} if ids else {}
                    found.append(await client.post(path, json=body, headers=headers))
                    while len([task for task in asyncio.all_tasks() if not task.done()]) > 1:
                        await asyncio.sleep(0.005)
                return found

        return asyncio.run(talk())

    @property
    def state(self) -> dict[str, Any]:
        return read_state(self.folder, "judge")


@pytest.fixture
def shadow(server: Server, tmp_path: Path) -> Iterator[World]:
    yield World(server, SHADOW, tmp_path)


@pytest.fixture
def canary(server: Server, tmp_path: Path) -> Iterator[World]:
    yield World(server, CANARY, tmp_path)


def test_a_shadow_is_asked_and_never_heard(shadow: World) -> None:
    trial = shadow.begin()
    shadow.challenger.labels = ("other", "labels")  # the judge calls a short text the first
    answers = shadow.ask(3)
    assert {each.json()["version"] for each in answers} == {7}
    assert (len(shadow.server.judge.batches), len(shadow.challenger.batches)) == (3, 3)
    assert [pair.candidate.content for pair in trial.pairs] == ['["other"]'] * 3
    assert [pair.baseline.content for pair in trial.pairs] == ['["negative"]'] * 3
    assert shadow.server.sample("langmill_trial_pairs_total", model="judge") == 3
    assert shadow.server.sample("langmill_requests_total", route=CLASSIFY, status="200") == 3, "copies do not count"


def test_a_canary_answers_its_share_and_the_same_requests_each_time(canary: World) -> None:
    canary.trials.settings = replace(CANARY, share=0.5)
    canary.begin()
    first, second = ([each.json()["version"] for each in canary.ask(20, ids=True)] for _ in range(2))
    assert first == second
    assert set(first) == {7, 9}
    assert "answers 50% of the requests" in canary.said[0]


def test_a_canary_that_fails_is_stopped_and_clients_get_the_champion_again(canary: World) -> None:
    canary.begin("writer", Writer(fails_after=0))
    body = {"model": "writer", "prompt": "x", "max_tokens": 2, "temperature": 0.0}
    statuses = [each.status_code for each in canary.ask(18, COMPLETIONS, **body)]
    assert statuses[:4] == [500] * 4
    assert statuses[-1] == 200, "the champion answers all again"
    ((name, version, reason),) = canary.stopped
    assert (name, version) == ("writer", 9)
    assert "fails on 100.0% of the requests and the other version on 0.0%" in reason
    assert canary.server.sample("langmill_trial_breaches_total", model="writer") == 1
    state = read_state(canary.folder, "writer")
    assert (state["outcome"], state["candidate"]) == ("breached", 9)
    assert not canary.trials.wants("writer", 9, 3, NEW), "not again"
    assert "Version 7 stays champion." in canary.said[-1]


def test_the_registry_is_told_of_a_breach_when_it_is_back(canary: World) -> None:
    canary.registry_is_down = True
    canary.begin("writer", Writer(fails_after=0))
    canary.ask(18, COMPLETIONS, model="writer", prompt="x", max_tokens=2)
    assert canary.stopped == []
    canary.registry_is_down = False
    canary.trials.tell()
    canary.trials.tell()
    assert len(canary.stopped) == 1


def test_a_candidate_that_is_promoted_goes_on_beside_the_previous_version(shadow: World) -> None:
    trial = shadow.begin()
    before = trial.baseline
    shadow.server.engine.publish(trial.candidate)
    shadow.trials.swapped("judge", trial.candidate, before, RegisteredVersion(7, "p7"))
    assert {each.json()["version"] for each in shadow.ask(2)} == {9}
    assert (trial.promoted, trial.beside.version, len(trial.pairs)) == (True, 7, 2)
    other = loaded_version("judge", 11, Judge())
    shadow.trials.swapped("judge", other, trial.candidate, NEW)
    assert not shadow.trials.any


def test_a_trial_ends_in_peace_after_enough_requests(shadow: World) -> None:
    shadow.trials.settings = replace(SHADOW, max_pairs=5)
    shadow.begin()
    shadow.ask(7)
    assert shadow.state["outcome"] == "kept"
    assert shadow.state["pairs"] == 5
    assert len(shadow.challenger.batches) == 5
    assert shadow.stopped == []


def test_refused_requests_and_clients_that_leave_are_no_pairs(shadow: World) -> None:
    trial = shadow.begin()
    assert shadow.ask(1, CLASSIFY, model="judge", input="")[0].status_code == 400
    assert (trial.pairs, shadow.challenger.batches) == ([], [])


# The comparison -------------------------------------------------------------------------------------------------------


def pair(candidate: Any = False, baseline: Any = False, seconds: tuple[float, float] = (1.0, 1.0)) -> Pair:
    """Two answers: whether each failed, or what it said."""
    sides = [
        Answer(said, took) if isinstance(said, bool) else Answer(False, took, said)
        for said, took in zip((candidate, baseline), seconds, strict=True)
    ]
    return Pair(*sides)


def by_name(pairs: list[Pair], **changes: Any) -> dict[str, Any]:
    return {each.name: each for each in measure(pairs, replace(TRIAL, **{"min_pairs": 10, **changes}))}


def test_equal_versions_breach_nothing() -> None:
    found = by_name([pair(), pair(True, True)] * 20)
    assert [each.breached for each in found.values()] == [False, False]
    assert (found["errors"].candidate, found["errors"].baseline, found["errors"].difference.value) == (0.5, 0.5, 0)
    assert found["slowdown"].difference.value == 1


def test_failures_beyond_what_is_allowed_are_a_breach_once_there_are_enough() -> None:
    few, many = ([pair()] * (8 * count) + [pair(True)] * (2 * count) for count in (1, 20))
    assert not by_name(few)["errors"].breached
    breached = by_name(many)["errors"]
    assert breached.breached
    assert (breached.candidate, breached.baseline) == (0.2, 0)
    assert not by_name(many, max_more_errors=0.3)["errors"].breached
    assert not by_name([pair(False, True)] * 200)["errors"].breached, "fewer errors are none"
    assert "fails on 20.0%" in sentence([breached])


def test_slower_answers_are_a_breach_in_the_geometric_mean() -> None:
    found = by_name([pair(seconds=(2.0, 1.0)), pair(seconds=(8.0, 1.0))] * 20)["slowdown"]
    assert found.difference.value == pytest.approx(4)
    assert found.breached
    assert not by_name([pair(seconds=(1.2, 1.0))] * 40)["slowdown"].breached


def test_other_answers_count_only_where_a_limit_is_set() -> None:
    pairs = [pair('["a"]', '["b"]')] * 30 + [pair('["a"]', '["a"]')] * 30
    found = by_name(pairs, max_other_answers=0.1)["other answers"]
    assert (found.candidate, found.breached) == (0.5, True)
    assert found.difference.low < 0.5 < found.difference.high
    assert not by_name(pairs)["other answers"].breached
    assert not by_name(pairs, max_other_answers=0.6)["other answers"].breached


def test_looks_become_rarer_and_end_with_the_trial() -> None:
    trial = replace(TRIAL, min_pairs=10, max_pairs=50)
    assert [next_look(count, trial) for count in (1, 9, 10, 19, 20, 39, 40, 50)] == [10, 10, 20, 20, 40, 40, 50, 50]


def test_luck_alone_seldom_stops_a_trial() -> None:
    """200 trials of two versions that both fail on a tenth of the requests, each looked at five times."""
    import numpy as np

    random, trial = np.random.default_rng(0), replace(TRIAL, min_pairs=10, max_pairs=160, max_more_errors=0.0)
    breached = 0
    for _ in range(60):
        fails = random.random((160, 2)) < 0.1
        pairs = [pair(bool(mine), bool(other)) for mine, other in fails]
        breached += any(measure(pairs[:count], trial)[0].breached for count in (10, 20, 40, 80, 160))
    assert breached <= 3


@pytest.mark.parametrize(
    ("status", "body", "asked", "wanted"),
    [
        (500, {"error": {}}, {}, (True, 0.6, None)),
        (200, "no JSON", {}, (True, 0.6, None)),
        (200, {"data": [{"label": "a"}, {"label": "b"}]}, {}, (False, 0.6, '["a", "b"]')),
        (200, {"choices": [{"text": "T"}], "usage": {"completion_tokens": 3}}, {"temperature": 1}, (False, 0.2, None)),
        (200, {"choices": [{"text": "T"}]}, {"temperature": 1}, (False, 0.6, None)),
        (200, {"choices": [{"message": {"content": "T"}}]}, {"temperature": 0}, (False, 0.6, '["T"]')),
        (200, {"data": [{"embedding": [1.0]}]}, {}, (False, 0.6, None)),
    ],
)  # fmt: skip
def test_what_an_answer_says(status: int, body: Any, asked: Any, wanted: tuple[bool, float, str | None]) -> None:
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    found = read_answer(status, raw, 0.6, asked)
    assert (found.failed, pytest.approx(found.seconds), found.content) == wanted


def test_what_a_stream_says() -> None:
    events = [{"choices": [{"index": 0, "delta": {"content": text}}]} for text in ("A", "b")]
    stream = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
    whole = read_answer(200, f"{stream}data: [DONE]\n\n".encode(), 0.6, {"temperature": 0})
    assert (whole.failed, whole.seconds, whole.content) == (False, 0.3, '["Ab"]')
    assert read_answer(200, f'{stream}data: {{"error": {{}}}}\n\n'.encode(), 0.6, {}).failed


def test_settings_that_can_not_be_meant_are_refused() -> None:
    with refused(FieldError, "impossible", "max_pairs"):
        replace(TRIAL, min_pairs=300)
