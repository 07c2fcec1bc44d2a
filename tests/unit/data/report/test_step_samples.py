"""Samples from both sides of each step: the same ones in any order, and nothing personal in them."""

from __future__ import annotations

import json
import random

import pytest

from langmill.data.cleaning.apply import clean_documents
from langmill.data.cleaning.base import Draft, Dropped
from langmill.data.report import Report
from langmill.data.report.examples import around, longest_shared
from langmill.data.report.step_samples import StepSamples, windows
from langmill.data.rows import Row
from tests.unit.data.report.conftest import SECRET, STEPS, Shout

pytestmark = pytest.mark.unit


def test_both_sides_of_each_step(report: Report) -> None:
    samples = report.as_json()["examples"]["steps"]
    by_place = {sample["where"]: sample for sample in samples["shout"]["changed"]}
    assert by_place["a.csv:3"]["before"] == "Help! Write to us"
    assert by_place["a.csv:3"]["after"] == "Help!! Write to us"
    assert samples["shout"]["dropped"] == [
        {"where": "a.csv:4", "before": "quiet", "after": None, "reason": "no_shout", "metadata": {}}
    ]


def test_no_secret_is_in_what_is_shown(report: Report) -> None:
    samples = report.as_json()["examples"]["steps"]["privacy"]["changed"]
    assert [(sample["before"], sample["after"]) for sample in samples] == [(None, "Help!! Write to <EMAIL>")]
    assert SECRET not in json.dumps(report.as_json())
    assert SECRET not in report.as_html() and SECRET not in report.as_markdown()


def test_the_same_samples_in_any_order() -> None:
    texts = [*(f"call {number}!" for number in range(9)), "CALL 0!", "Call 1!", "CALL 2!"]  # which read alike
    rows = [Row(f"a:{number}", text, None, None, {}) for number, text in enumerate(texts)]
    found = []
    for seed in range(8):
        order = random.Random(seed).sample(rows, len(rows))
        samples = StepSamples()
        for row in order:
            samples.offer(row, clean_documents([Draft(row.text)], STEPS)[0])
        found.append(samples.taken(STEPS))
    assert len(found[0]["shout"]["changed"]) == 5
    assert all(one == found[0] for one in found)


def test_windows_stand_around_the_difference() -> None:
    before = "a" * 1000 + "X" + "b" * 1000
    cut, other = windows(before, before.replace("X", ""))
    assert cut == "…" + "a" * 80 + "X" + "b" * 80 + "…"
    assert other == "…" + "a" * 80 + "b" * 80 + "…"
    assert windows("same", "same") == ("same", "same")


def test_what_leaked_is_found_in_both_texts() -> None:
    one, other = "So it goes. The quick, brown fox jumps!", "A fox: the quick brown fox jumps, he said."
    ours, theirs = longest_shared(one, other)
    assert (one[slice(*ours)], other[slice(*theirs)]) == ("The quick, brown fox jumps", "the quick brown fox jumps")
    assert longest_shared("a b", "c d") == ((0, 0), (0, 0))
    assert around("a" * 500 + "b" * 500, (500, 510)) == "…" + "a" * 80 + "b" * 320 + "…"


def test_a_step_that_is_not_pure_costs_a_sample_and_no_corpus() -> None:
    class Moody(Shout):
        def clean(self, document: Draft) -> Draft | Dropped:
            return Dropped("mood")

    samples = StepSamples()
    samples.offer(Row("a:1", "call!", None, None, {}), clean_documents([Draft("call!")], STEPS)[0])
    assert samples.taken({"moody": Moody(None), **STEPS}) == {"shout": {"changed": []}}
