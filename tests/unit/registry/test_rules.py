from __future__ import annotations

from pathlib import Path

import pytest

from langmill.config.sections import Gate
from langmill.evaluation.significance import Comparison, Estimate
from langmill.registry.rules import enough_rules, improvement_rule
from langmill.registry.verdict import Rule

pytestmark = pytest.mark.unit


def comparison(low: float, value: float, high: float) -> Comparison:
    return Comparison("accuracy", 0.9, 0.9 - value, Estimate(value, low, high), 0.01, 1500, 1500, 0.95)


def test_the_whole_interval_must_lie_beyond_the_effect() -> None:
    kept = improvement_rule(comparison(0.011, 0.02, 0.03), 0.01, "Accuracy", "version 2")
    assert kept == Rule(
        "improvement", True, 0.011, 0.01,
        "Accuracy is 0.9 against 0.88 of version 2: better by 0.02, 95% interval of the gain [0.011, 0.03] on 1,500 "
        "test documents; all of it must be above 0.01.",
    )  # fmt: skip
    missed = improvement_rule(comparison(0.004, 0.02, 0.03), 0.01, "Accuracy", "version 2")
    assert not missed.passed
    assert missed.sentence.endswith("all of it must be above 0.01, which its lower end misses by 0.006.")
    equal = improvement_rule(comparison(0.01, 0.02, 0.03), 0.01, "Accuracy", "version 2")
    assert not equal.passed
    worse = improvement_rule(comparison(-0.03, -0.02, -0.01), 0.0, "Accuracy", "version 2")
    assert "worse by 0.02," in worse.sentence


def test_too_few_groups_are_refused_and_the_missing_ones_counted() -> None:
    gate = Gate("accuracy", 0.0, 30, 10)
    enough, missing = enough_rules(323, 4, gate, "work")
    assert enough.passed and not missing.passed
    assert missing.sentence == (
        "The 323 test documents are in 4 groups (split.by is work); gate.min_groups asks for 10, so 6 are missing: "
        "add documents of other groups, or raise split.test of the corpus."
    )
    assert [rule.passed for rule in enough_rules(323, 12, gate, "work")] == [True, True]
    assert [rule.passed for rule in enough_rules(30, 30, gate, None)] == [True]


def test_the_groups_are_told(workspace: Path) -> None:
    found = Comparison("accuracy", 0.9, 0.8, Estimate(0.1, 0.05, 0.15), 0.01, 323, 12, 0.95)
    rule = improvement_rule(found, 0.0, "Accuracy", "version 2")
    assert "on 323 test documents in 12 groups; all of it must be above 0." in rule.sentence


def test_a_difference_that_chance_gives_as_well_is_refused() -> None:
    found = Comparison("accuracy", 0.9, 0.8, Estimate(0.1, 0.05, 0.15), 0.04, 30, 30, 0.95)
    rule = improvement_rule(found, 0.01, "Accuracy", "version 2")
    assert not rule.passed
    assert rule.sentence.endswith(
        "all of it must be above 0.01, which it is, but two models that are alike differ as much in 4.00% of cases, "
        "and 2.50% is the most."
    )
