"""Metrics of speed by a clock that can be trusted."""

from __future__ import annotations

import json

import pytest

from langmill.config.compose import compose_recipe
from langmill.tracking.run_log import RunLog
from langmill.training.guard import StepMetrics
from langmill.training.reporting import Reporter, Stopwatch
from tests.unit.training.material import RECIPES, REPOSITORY

pytestmark = pytest.mark.unit


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def reporter(clock: Clock, **kinds: object) -> Reporter:
    training = compose_recipe("reviews-lm", RECIPES["reviews-lm"], REPOSITORY / "conf").training
    settings = {"flops_per_token": None, "peak_flops": None, **kinds}
    return Reporter("reviews-lm", training, StepMetrics(), clock=clock, **settings)


def test_a_pause_does_not_count(clock):
    watch = Stopwatch(clock)
    clock.now += 3
    with watch.paused():
        clock.now += 50
    clock.now += 1
    assert watch.lap() == 4
    clock.now += 2
    assert watch.lap() == 2


def test_tokens_per_second(clock):
    report = reporter(clock)
    clock.now += 4
    assert report.speed(tokens=1000, mean_length=10) == {"tokens_per_second": 250.0}
    clock.now += 2
    assert report.speed(tokens=1000, mean_length=10) == {"tokens_per_second": 500.0}


def test_utilisation_counts_three_forward_passes(clock):
    report = reporter(clock, flops_per_token=lambda length: 1e6 + length, peak_flops=1e10)
    clock.now += 4
    speed = report.speed(tokens=1000, mean_length=10)
    assert speed["model_flops_utilisation"] == pytest.approx(3 * 1000010 * 250 / 1e10)
    report = reporter(clock, flops_per_token=lambda length: 1e6 + length)
    clock.now += 4
    assert report.speed(tokens=1000, mean_length=10)["model_gflops_per_second"] == pytest.approx(0.75, rel=1e-4)


def test_samples_are_one_file_a_validation(clock, tmp_path):
    report = reporter(clock)
    report.run_log = RunLog(tmp_path)
    report.samples(["A", "B"], ["A film", "B side"], 100)
    text = (tmp_path / "files" / "samples" / "step-00000100.md").read_text()
    assert text == "# Step 100\n\n## A\n\nA film\n\n## B\n\nB side\n"


def test_other_processes_write_nothing(clock):
    report = reporter(clock)
    report.write({"train/loss": 1.0}, 5)
    report.samples(["A"], ["B"], 5)


def test_a_replayed_step_is_logged_once(clock, tmp_path):
    for _ in range(2):
        report = reporter(clock)
        report.run_log = RunLog(tmp_path)
        report.write({"train/loss": 1.0}, 5)
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [5]
