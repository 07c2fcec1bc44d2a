from __future__ import annotations

import pytest

from langmill.registry.verdict import RuleResult, Verdict
from tests.unit.registry.judging import NAME

pytestmark = pytest.mark.unit


def test_a_verdict_survives_being_written_down() -> None:
    rules = (
        RuleResult("validation", True, None, None, "It loads."),
        RuleResult("improvement", False, -0.1, 0.0, "It is worse."),
    )
    verdict = Verdict(NAME, 3, "version 2", 2, "d" * 64, False, rules)
    assert Verdict.from_json(verdict.to_json()) == verdict
    older = verdict.to_json()
    older["question"] = older.pop("comparison_key")
    assert Verdict.from_json(older) == verdict
    assert (verdict.passed, verdict.outcome, verdict.sentence) == (False, "refused", "It is worse.")
    assert verdict.to_json()["outcome"] == "refused"
    assert verdict.markdown() == (
        "### reviews-lm version 3: refused\n\nIt is worse.\n\n"
        "| rule | kept | value | must be above, or reach |\n|---|---|---:|---:|\n"
        "| validation | yes |  |  |\n| improvement | **no** | -0.1 | 0 |\n\n"
        "Compared by their weights not noted, champion's not noted.\n"
    )
