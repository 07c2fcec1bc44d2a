"""The rules, and where they come from."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from langmill.config.compose import compose_recipe
from langmill.config.sections import Gate, Recipe
from langmill.config.typed import typed
from langmill.errors import ConfigError
from langmill.evaluation.estimates import Comparison, Estimate
from langmill.files import write_text
from langmill.registry.rules.base import RULES, build_rules
from langmill.registry.rules.enough_documents import EnoughDocuments, EnoughDocumentsOptions
from langmill.registry.rules.improvement import Improvement, ImprovementOptions
from langmill.registry.store import ModelRegistry
from langmill.registry.verdict import RuleResult
from langmill.registry.versions import Tag
from langmill.stages.recipe_checks import check_recipe
from tests.refused import refused
from tests.unit.registry.building import URI, recipe_of, registered
from tests.unit.registry.judging import NAME, judged

pytestmark = pytest.mark.unit
CONF = Path(__file__).parents[3] / "conf"


def comparison(low: float, value: float, high: float, p_value: float = 0.01, groups: int = 1500) -> Comparison:
    return Comparison("accuracy", 0.9, 0.9 - value, Estimate(value, low, high), p_value, 1500, groups, 0.95)


def decided(found: Comparison, min_effect: float = 0.01) -> RuleResult:
    return Improvement(ImprovementOptions(min_effect)).decide(found, "Accuracy", "version 2")


def test_the_whole_interval_must_lie_beyond_the_effect() -> None:
    assert decided(comparison(0.011, 0.02, 0.03)) == RuleResult(
        "improvement", True, 0.011, 0.01,
        "Accuracy is 0.9 against 0.88 of version 2: better by 0.02, 95% interval of the gain [0.011, 0.03] on 1,500 "
        "test documents; all of it must be above 0.01.",
    )  # fmt: skip
    missed = decided(comparison(0.004, 0.02, 0.03))
    assert not missed.passed
    assert missed.sentence.endswith("all of it must be above 0.01, which its lower end misses by 0.006.")
    assert not decided(comparison(0.01, 0.02, 0.03)).passed
    assert "worse by 0.02," in decided(comparison(-0.03, -0.02, -0.01), 0.0).sentence


def test_too_few_groups_are_refused_and_the_missing_ones_counted() -> None:
    rule = EnoughDocuments(EnoughDocumentsOptions(30, 10))
    enough, missing = rule.count(323, 4, "work")
    assert enough.passed and not missing.passed
    assert missing.sentence == (
        "The 323 test documents are in 4 groups (split.by is work); gate.rules.enough_documents.min_groups asks for "
        "10, so 6 are missing: add documents of other groups, or raise split.test of the corpus."
    )
    assert [result.passed for result in rule.count(323, 12, "work")] == [True, True]
    assert [result.passed for result in rule.count(30, 30, None)] == [True]


def test_the_groups_are_told() -> None:
    found = decided(comparison(0.05, 0.1, 0.15, groups=12), 0.0)
    assert "on 1,500 test documents in 12 groups; all of it must be above 0." in found.sentence


def test_a_difference_that_chance_gives_as_well_is_refused() -> None:
    found = decided(comparison(0.05, 0.1, 0.15, p_value=0.04))
    assert not found.passed
    assert found.sentence.endswith(
        "all of it must be above 0.01, which it is, but two models that are alike differ as much in 4.00% of cases, "
        "and 2.50% is the most."
    )


# Which ones are asked -------------------------------------------------------------------------------------------------


def test_every_name_of_ours_is_a_rule_that_the_settings_ask() -> None:
    gate = compose_recipe(NAME, conf=CONF).gate
    assert list(build_rules(gate, "x.yaml")) == [
        "validation",
        "not_rolled_back",
        "enough_documents",
        "not_worse_than_base",
        "improvement",
    ]
    assert sorted(gate.rules) == RULES.names()


def test_one_that_is_null_is_left_out() -> None:
    rules = compose_recipe(NAME, ["gate.rules.enough_documents=null"], CONF).gate
    assert list(build_rules(rules, "x.yaml")) == ["validation", "not_rolled_back", "not_worse_than_base", "improvement"]


def test_they_are_checked_before_anything_runs() -> None:
    recipe = compose_recipe(NAME, ["gate.rules.improvement.min_effect=-1"], CONF)
    with pytest.raises(ConfigError) as caught:
        check_recipe(recipe, "x.yaml")
    assert str(caught.value) == "x.yaml: gate.rules.improvement.min_effect is -1; allowed is 0 or more."


def test_the_keys_of_before_are_read(caplog: pytest.LogCaptureFixture) -> None:
    old = {"min_documents": 30, "min_groups": 7, "metric": "accuracy", "min_effect": 0.5, "rules": {}}
    gate = typed(Gate, old, "x.yaml", "gate", {f"gate.{key}": (0, "x.yaml") for key in old}.get)
    assert gate.rules["improvement"] == {"min_effect": 0.5}
    assert gate.rules["enough_documents"] == {"min_documents": 30, "min_groups": 7}
    assert list(build_rules(gate, "x.yaml")) == ["validation", "not_rolled_back", "enough_documents", "improvement"]
    assert "x.yaml: gate.min_effect is gate.rules.improvement.min_effect now." in caplog.text


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        (
            {"improvment": {}},
            "x.yaml: gate.rules.improvment is unknown; known are enough_documents, improvement, not_",
        ),
        ({"improvement": {}}, "x.yaml: gate.rules.improvement.min_effect is missing"),
        ({"enough_document": None}, "x.yaml: gate.rules.enough_document is unknown; known are"),
        ({"improvement": {"min_effect": -1}}, "min_effect is -1; allowed is 0 or more"),
        ({"enough_documents": {"min_documents": 0, "min_groups": 1}}, "min_documents is 0; allowed is 1 or more"),
        ({"validation": {"strict": True}}, "strict is not a setting"),
    ],
)
def test_wrong_rules_are_refused(rules: dict[str, dict[str, object]], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_rules(Gate("accuracy", rules), "x.yaml")
    assert told in str(caught.value)


GUIDE = (CONF.parent / "docs/guides/extending.md").read_text(encoding="utf-8")
SMALL = next(block for block in GUIDE.split("```") if block.startswith("python\n# toy/small.py\n")).partition("\n")[2]


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A distribution that brings the rule of the guide, installed for this test."""
    site = tmp_path / "site"
    write_text(site / "toy_rules.py", SMALL)
    write_text(site / "toy_rules-1.0.dist-info" / "METADATA", "Metadata-Version: 2.1\nName: toy-rules\nVersion: 1.0\n")
    write_text(site / "toy_rules-1.0.dist-info" / "entry_points.txt", "[langmill.rules]\nsmall = toy_rules\n")
    monkeypatch.syspath_prepend(str(site))
    importlib.invalidate_caches()
    yield
    RULES._classes.pop("small", None)
    sys.modules.pop("toy_rules", None)


def with_small(max_bytes: int) -> Recipe:
    recipe = recipe_of(NAME)
    recipe.gate.rules["small"] = {"max_bytes": max_bytes}
    return recipe


def test_a_rule_of_another_distribution_is_asked(toy: None, workspace: Path) -> None:
    version = registered(workspace, NAME, seed=1, factor=0.5)
    size = int(version.tags[Tag.size])
    verdict = judged(version, with_small(1000))
    assert verdict.outcome == "refused"
    assert verdict.sentence == f"It has {size:,} bytes; 1,000 are allowed."
    assert [rule.name for rule in verdict.rules][-2:] == ["improvement", "small"]
    assert judged(ModelRegistry(URI).version(NAME, 1), with_small(10**9)).passed
    with refused(ConfigError, "missing", "x.yaml", "gate.rules.small.max_bytes"):
        build_rules(Gate("accuracy", {"small": {}}), "x.yaml")
