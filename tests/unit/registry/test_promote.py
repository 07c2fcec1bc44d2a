"""A champion moves, forward and back."""

from __future__ import annotations

from pathlib import Path

import pytest

from langmill.errors import RegistryError
from langmill.registry import steps
from langmill.registry.promote import promote, rollback
from langmill.registry.store import ModelRegistry
from langmill.registry.versions import CHALLENGER, CHAMPION, PREVIOUS, State, Tag
from tests.refused import refused
from tests.unit.registry.building import URI, recipe_of, registered
from tests.unit.registry.moving import NAME, aliases, events, force

pytestmark = pytest.mark.unit


def test_the_flow_promotes_what_the_gate_let_through(workspace: Path) -> None:
    version = registered(workspace, NAME, seed=1, factor=0.5)
    registry = ModelRegistry(URI)
    verdict = steps.judge_version(recipe_of(NAME), version, URI)
    promotion = steps.promote_if_passed(version, verdict, URI, "make-models")
    assert (promotion.moved, promotion.champion) == (True, 1)
    assert promotion.sentence == "reviews-lm version 1 is the champion now."
    assert aliases(registry) == {CHAMPION: 1}
    begun, done = registry.ledger.entries(NAME)
    assert (begun.event, done.event) == ("begin", "done")
    assert done.reason == verdict.sentence
    assert done.verdict is not None
    assert done.verdict["outcome"] == "passed"
    assert (done.command, done.forced, done.source, done.target) == ("make-models", False, None, 1)

    again = steps.promote_if_passed(version, steps.judge_version(recipe_of(NAME), version, URI), URI, "make-models")
    assert (again.moved, again.champion) == (False, 1)
    assert again.sentence.startswith("reviews-lm version 1 is the champion already (weights ")
    assert len(registry.ledger.entries()) == 2


def test_the_champion_becomes_the_previous_one(registry: ModelRegistry) -> None:
    force(registry, 1)
    assert aliases(registry) == {CHAMPION: 1, CHALLENGER: 3}
    force(registry, 3)
    assert aliases(registry) == {CHAMPION: 3, PREVIOUS: 1}
    force(registry, 2)
    assert aliases(registry) == {CHAMPION: 2, PREVIOUS: 3}


def test_the_gate_is_kept_to(registry: ModelRegistry) -> None:
    with refused(RegistryError, "undecided", "reviews-lm version 2", "langmill run", "--force"):
        promote(registry, NAME, 2, force=None, command="test")
    force(registry, 1)
    third = registry.version(NAME, 3)
    recipe = recipe_of(NAME)
    recipe.gate.rules["improvement"] = {"min_effect": 10.0}
    steps.judge_version(recipe, third, URI)
    with refused(RegistryError, "refused", "reviews-lm version 3", "above 10", "--force"):
        promote(registry, NAME, 3, force=None, command="test")
    assert aliases(registry)[CHAMPION] == 1


def test_a_verdict_against_another_champion_does_not_count(registry: ModelRegistry) -> None:
    force(registry, 1)
    assert steps.judge_version(recipe_of(NAME), registry.version(NAME, 3), URI).outcome == "passed"
    force(registry, 2)
    with refused(RegistryError, "changed", "reviews-lm version 3 with version 1", "langmill run"):
        promote(registry, NAME, 3, force=None, command="test")


def test_force_is_written_down_and_helps_no_broken_version(registry: ModelRegistry) -> None:
    promote(registry, NAME, 1, force="the old one swears", command="langmill promote")
    entry = registry.ledger.entries(NAME)[-1]
    assert (entry.forced, entry.reason) == (True, "the old one swears")
    for state, code in ((State.rejected, "refused"), (State.registered, "undecided")):
        registry.note(registry.version(NAME, 2), {Tag.state: state, Tag.reason: "broken"})
        with refused(RegistryError, code, "version 2", "validat", "broken"):
            force(registry, 2)
    assert aliases(registry)[CHAMPION] == 1


def test_rollback_swaps_champion_and_previous(registry: ModelRegistry) -> None:
    force(registry, 1)
    force(registry, 2)
    back = rollback(registry, NAME, reason="it swears", command="langmill rollback")
    assert back.sentence == "reviews-lm version 1 is the champion again in place of version 2."
    assert aliases(registry) == {CHAMPION: 1, PREVIOUS: 2, CHALLENGER: 3}
    assert registry.version(NAME, 2).tags[Tag.rolled_back] == "it swears"
    assert events(registry)[-1] == ("done", "rollback", 2, 1)
    with refused(RegistryError, "refused", "rolled back: it swears", "--force"):
        promote(registry, NAME, 2, force=None, command="test")
    force(registry, 2)
    assert Tag.rolled_back not in registry.version(NAME, 2).tags


def test_a_verdict_of_before_the_rollback_brings_nothing_back(registry: ModelRegistry) -> None:
    """The bad version was promoted against the very champion that is in service again."""
    force(registry, 1)
    assert steps.judge_version(recipe_of(NAME), registry.version(NAME, 3), URI).outcome == "passed"
    promote(registry, NAME, 3, force=None, command="test")
    rollback(registry, NAME, reason="it swears", command="test")
    with refused(RegistryError, "refused", "rolled back: it swears", "--force"):
        promote(registry, NAME, 3, force=None, command="test")
    assert aliases(registry)[CHAMPION] == 1


def test_a_second_rollback_clears_the_version_that_it_restores(registry: ModelRegistry) -> None:
    force(registry, 1)
    force(registry, 2)
    rollback(registry, NAME, reason="it swears", command="test")
    rollback(registry, NAME, reason="that was the prompt", command="test")
    assert aliases(registry) == {CHAMPION: 2, PREVIOUS: 1, CHALLENGER: 3}
    assert Tag.rolled_back not in registry.version(NAME, 2).tags
    assert registry.version(NAME, 1).tags[Tag.rolled_back] == "that was the prompt"


def test_there_must_be_something_to_go_back_to(registry: ModelRegistry) -> None:
    with refused(RegistryError, "missing", "previous", "langmill status"):
        rollback(registry, NAME, reason="", command="test")
    force(registry, 1)
    with refused(RegistryError, "missing", "previous", "langmill status"):
        rollback(registry, NAME, reason="", command="test")
    registry.move_alias(NAME, PREVIOUS, 1, None)
    with refused(RegistryError, "impossible", "previous", "champion"):
        rollback(registry, NAME, reason="", command="test")
