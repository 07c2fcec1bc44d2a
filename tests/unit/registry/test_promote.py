from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from langmill.errors import ConflictError, RegistryError
from langmill.registry import steps
from langmill.registry.ledger import Ledger
from langmill.registry.promote import promote, repair, rollback
from langmill.registry.status import status
from langmill.registry.store import CHALLENGER, CHAMPION, PREVIOUS, Registry, State, Tag
from tests.unit.registry.building import LANGUAGE_MODEL, URI, recipe_of, registered

pytestmark = pytest.mark.unit
NAME = LANGUAGE_MODEL


@pytest.fixture(scope="module")
def three(built_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with three registered versions, all validated and none judged; made once."""
    folder = tmp_path_factory.mktemp("three") / "workspace"
    shutil.copytree(built_models, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for seed in (1, 2, 3):
            registered(folder, NAME, seed=seed, factor=0.9)
    return folder


@pytest.fixture
def registry(three: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The test's own copy of that registry; the packages stay where they are."""
    shutil.copytree(three, tmp_path / "copy", ignore=shutil.ignore_patterns("artifacts"))
    monkeypatch.chdir(tmp_path / "copy")
    return Registry(URI)


def force(registry: Registry, version: int) -> None:
    promote(registry, NAME, version, force="for the test", command="test")


def aliases(registry: Registry) -> dict[str, int]:
    return {
        alias: version.version
        for alias in (CHAMPION, CHALLENGER, PREVIOUS)
        if (version := registry.aliased(NAME, alias)) is not None
    }


def events(registry: Registry) -> list[tuple[str, str, int | None, int]]:
    return [(entry.event, entry.action, entry.source, entry.target) for entry in registry.ledger.entries(NAME)]


def test_the_flow_promotes_what_the_gate_let_through(workspace: Path) -> None:
    version = registered(workspace, NAME, seed=1, factor=0.5)
    registry = Registry(URI)
    verdict = steps.judge_version(recipe_of(NAME), version, URI)
    promotion = steps.promote_if_passed(version, verdict, URI, "make-models")
    assert (promotion.moved, promotion.before, promotion.champion) == (True, None, 1)
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
    assert again.sentence == "reviews-lm version 1 is the champion already."
    assert len(registry.ledger.entries()) == 2


def test_the_champion_becomes_the_previous_one(registry: Registry) -> None:
    force(registry, 1)
    assert aliases(registry) == {CHAMPION: 1, CHALLENGER: 3}
    force(registry, 3)
    assert aliases(registry) == {CHAMPION: 3, PREVIOUS: 1}
    force(registry, 2)
    assert aliases(registry) == {CHAMPION: 2, PREVIOUS: 3}


def test_the_gate_is_kept_to(registry: Registry) -> None:
    with pytest.raises(RegistryError, match="The gate was never asked about reviews-lm version 2"):
        promote(registry, NAME, 2, force=None, command="test")
    force(registry, 1)
    refused = registry.version(NAME, 3)
    recipe = recipe_of(NAME)
    recipe.gate.min_effect = 10.0
    steps.judge_version(recipe, refused, URI)
    with pytest.raises(RegistryError, match=r"The gate refused reviews-lm version 3: .* --force"):
        promote(registry, NAME, 3, force=None, command="test")
    assert aliases(registry)[CHAMPION] == 1


def test_a_verdict_against_another_champion_does_not_count(registry: Registry) -> None:
    force(registry, 1)
    assert steps.judge_version(recipe_of(NAME), registry.version(NAME, 3), URI).outcome == "passed"
    force(registry, 2)
    with pytest.raises(
        RegistryError, match="compared reviews-lm version 3 with version 1, which is not the champion now"
    ):
        promote(registry, NAME, 3, force=None, command="test")


def test_force_is_written_down_and_helps_no_broken_version(registry: Registry) -> None:
    promote(registry, NAME, 1, force="the old one swears", command="langmill promote")
    entry = registry.ledger.entries(NAME)[-1]
    assert (entry.forced, entry.reason) == (True, "the old one swears")
    for state, told in (
        (State.rejected, "failed validation and can't be champion: broken"),
        ("registered", "never validated"),
    ):
        registry.note(registry.version(NAME, 2), {Tag.state: state, Tag.reason: "broken"})
        with pytest.raises(RegistryError, match=told):
            force(registry, 2)
    assert aliases(registry)[CHAMPION] == 1


def test_rollback_swaps_champion_and_previous(registry: Registry) -> None:
    force(registry, 1)
    force(registry, 2)
    back = rollback(registry, NAME, reason="it swears", command="langmill rollback")
    assert back.sentence == "reviews-lm version 1 is the champion again in place of version 2."
    assert aliases(registry) == {CHAMPION: 1, PREVIOUS: 2, CHALLENGER: 3}
    assert registry.version(NAME, 2).tags[Tag.rolled_back] == "it swears"
    assert events(registry)[-1] == ("done", "rollback", 2, 1)
    force(registry, 2)
    assert Tag.rolled_back not in registry.version(NAME, 2).tags


def test_there_must_be_something_to_go_back_to(registry: Registry) -> None:
    with pytest.raises(RegistryError, match="has no previous version"):
        rollback(registry, NAME, reason="", command="test")
    force(registry, 1)
    with pytest.raises(RegistryError, match="has no previous version"):
        rollback(registry, NAME, reason="", command="test")
    registry.move_alias(NAME, PREVIOUS, 1, None)
    with pytest.raises(RegistryError, match="nothing to go back to"):
        rollback(registry, NAME, reason="", command="test")


class PowerCut(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("action", ["promote", "rollback"])
def test_a_crash_between_the_two_moves_changes_nothing(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    force(registry, 1)
    force(registry, 2)
    before = aliases(registry)
    move = Registry.move_alias_locked

    def dying(self: Registry, name: str, alias: str, to: int | None, expected: int | None) -> None:
        if alias == CHAMPION:
            raise PowerCut
        move(self, name, alias, to, expected)

    with monkeypatch.context() as patch:
        patch.setattr(Registry, "move_alias_locked", dying)
        with pytest.raises(PowerCut):
            force(registry, 3) if action == "promote" else rollback(registry, NAME, reason="", command="test")
    assert aliases(registry)[CHAMPION] == aliases(registry)[PREVIOUS] == 2

    (found,) = status(URI)
    assert found.notes == (
        f"The {action} to version {3 if action == 'promote' else 1} was cut short; the next `langmill run`, promote or "
        "rollback puts it right.",
    )
    assert "version 2 is still the champion" in str(repair(registry, NAME))
    assert aliases(registry) == before
    assert events(registry)[-1][0] == "undone"
    assert repair(registry, NAME) is None
    assert status(URI)[0].notes == ()


def test_a_crash_after_the_moves_is_completed(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    force(registry, 1)
    append = Ledger.append

    def dying(self: Ledger, event: str, *arguments: Any, **more: Any) -> Any:
        if event == "done":
            raise PowerCut
        return append(self, event, *arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "append", dying)
        with pytest.raises(PowerCut):
            force(registry, 2)
    rollback(registry, NAME, reason="", command="test")  # repairs first
    assert aliases(registry)[CHAMPION] == 1
    assert [event for event in events(registry) if event[0] != "begin"] == [
        ("done", "promote", None, 1),
        ("done", "promote", 1, 2),
        ("done", "rollback", 2, 1),
    ]


def test_a_conflict_in_the_middle_is_undone_at_once(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    force(registry, 1)
    force(registry, 2)
    move = Registry.move_alias_locked

    def contested(self: Registry, name: str, alias: str, to: int | None, expected: int | None) -> None:
        if alias == CHAMPION:
            raise ConflictError("Someone was faster.")
        move(self, name, alias, to, expected)

    with monkeypatch.context() as patch:
        patch.setattr(Registry, "move_alias_locked", contested)
        with pytest.raises(ConflictError):
            force(registry, 3)
    assert aliases(registry) == {CHAMPION: 2, PREVIOUS: 1, CHALLENGER: 3}
    assert events(registry)[-1] == ("undone", "promote", 2, 3)


def test_an_alias_moved_by_other_means_is_told(registry: Registry) -> None:
    force(registry, 1)
    registry.move_alias(NAME, CHAMPION, 2, 1)
    assert status(URI)[0].notes == (
        "Langmill made version 1 the champion; someone moved the alias to version 2 by other means.",
    )
