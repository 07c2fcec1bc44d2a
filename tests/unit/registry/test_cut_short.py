"""A move that a crash cut short, at every point."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from langmill.errors import ConflictError, RegistryError
from langmill.registry import steps
from langmill.registry.ledger import Entry, Ledger
from langmill.registry.promote import promote, repair, rollback
from langmill.registry.status import status
from langmill.registry.store import ModelRegistry
from langmill.registry.versions import CHALLENGER, CHAMPION, PREVIOUS, Tag
from tests.refused import refused
from tests.unit.registry.building import URI, recipe_of
from tests.unit.registry.moving import NAME, aliases, events, force

pytestmark = pytest.mark.unit


class PowerCut(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("action", ["promote", "rollback"])
def test_a_crash_between_the_two_moves_changes_nothing(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    force(registry, 1)
    force(registry, 2)
    before = aliases(registry)
    move = ModelRegistry.move_alias_locked

    def dying(self: ModelRegistry, name: str, alias: str, to: int | None, expected: int | None) -> None:
        if alias == CHAMPION:
            raise PowerCut
        move(self, name, alias, to, expected)

    with monkeypatch.context() as patch:
        patch.setattr(ModelRegistry, "move_alias_locked", dying)
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


def test_a_crash_after_the_moves_is_completed(registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    force(registry, 1)
    append = Ledger.append

    def dying(self: Ledger, entry: Entry, restart: str = "") -> Entry:
        if entry.event == "done":
            raise PowerCut
        return append(self, entry, restart)

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


def test_a_conflict_in_the_middle_is_undone_at_once(registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    force(registry, 1)
    force(registry, 2)
    move = ModelRegistry.move_alias_locked

    def contested(self: ModelRegistry, name: str, alias: str, to: int | None, expected: int | None) -> None:
        if alias == CHAMPION:
            raise ConflictError("Someone was faster.")
        move(self, name, alias, to, expected)

    with monkeypatch.context() as patch:
        patch.setattr(ModelRegistry, "move_alias_locked", contested)
        with pytest.raises(ConflictError):
            force(registry, 3)
    assert aliases(registry) == {CHAMPION: 2, PREVIOUS: 1, CHALLENGER: 3}
    assert events(registry)[-1] == ("undone", "promote", 2, 3)


# At every point


WRITES = (
    "set_registered_model_alias", "delete_registered_model_alias", "set_model_version_tag", "delete_model_version_tag",
    "set_registered_model_tag",
)  # fmt: skip


@contextlib.contextmanager
def power_cut(registry: ModelRegistry, point: int, *, before: bool) -> Iterator[list[str]]:
    """The process ends at the `point`-th write to the registry or the ledger, right before or right after it."""
    written: list[str] = []

    def cutting(name: str, write: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            written.append(name)
            if before and len(written) == point:
                raise PowerCut
            result = write(*arguments, **more)
            if len(written) == point:
                raise PowerCut
            return result

        return call

    with pytest.MonkeyPatch.context() as patch:
        client = type(registry._client)
        for name in WRITES:
            patch.setattr(client, name, cutting(name, getattr(client, name)))
        patch.setattr(Ledger, "append", cutting("append", Ledger.append))
        yield written


def fresh(three: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModelRegistry:
    """A workspace in which version 3 is judged and in service, and version 1 was before."""
    shutil.copytree(three, folder)
    monkeypatch.chdir(folder)
    registry = ModelRegistry(URI)
    force(registry, 1)
    assert steps.judge_version(recipe_of(NAME), registry.version(NAME, 3), URI).outcome == "passed"
    promote(registry, NAME, 3, force=None, command="test")
    return registry


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_no_crash_of_a_rollback_lets_the_bad_version_come_back(
    three: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    template = fresh(three, tmp_path / "template", monkeypatch)
    point, outcomes = 0, set()
    while True:
        point += 1
        registry = copied(tmp_path / "template", tmp_path / f"cut-{point}", monkeypatch)
        with power_cut(registry, point, before=before) as written:
            try:
                rollback(registry, NAME, reason="it swears", command="test")
            except PowerCut:
                pass
            else:
                break
        registry = ModelRegistry(URI)
        repair(registry, NAME)
        left = aliases(registry)
        assert registry.record(NAME).complaint() is None, (point, written)
        if left[CHAMPION] == 3:  # the rollback had not begun in earnest: all is as it was
            assert left == {CHAMPION: 3, PREVIOUS: 1}
            assert Tag.rolled_back not in registry.version(NAME, 3).tags
            outcomes.add("undone")
            continue
        outcomes.add("done")
        assert left == {CHAMPION: 1, PREVIOUS: 3}
        assert registry.version(NAME, 3).tags[Tag.rolled_back] == "it swears"
        with refused(RegistryError, "refused", "rolled back: it swears"):
            promote(registry, NAME, 3, force=None, command="the next run")
        verdict = steps.judge_version(recipe_of(NAME), registry.version(NAME, 3), URI)
        assert not steps.promote_if_passed(registry.version(NAME, 3), verdict, URI, "the next run").moved
        assert aliases(registry) == {CHAMPION: 1, PREVIOUS: 3}
    assert outcomes == {"undone", "done"}
    assert point > 7
    assert template.ledger.path != registry.ledger.path


def copied(template: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModelRegistry:
    def copy(source: str, target: str) -> None:  # 600 files of artifacts, which no move writes to, need no second copy
        (os.link if "artifacts" in Path(source).parts else shutil.copy2)(source, target)

    shutil.copytree(template, folder, copy_function=copy)
    monkeypatch.chdir(folder)
    return ModelRegistry(URI)


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_no_crash_of_a_promotion_leaves_half_of_it(
    three: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    fresh(three, tmp_path / "template", monkeypatch)
    rollback(ModelRegistry(URI), NAME, reason="it swears", command="test")  # so that there is a mark to take off
    was = aliases(ModelRegistry(URI))
    point, outcomes = 0, set()
    while True:
        point += 1
        registry = copied(tmp_path / "template", tmp_path / f"cut-{point}", monkeypatch)
        with power_cut(registry, point, before=before) as written:
            try:
                force(registry, 3)
            except PowerCut:
                pass
            else:
                break
        registry = ModelRegistry(URI)
        repair(registry, NAME)
        left = aliases(registry)
        assert registry.record(NAME).complaint() is None, (point, written)
        outcomes.add(left[CHAMPION])
        assert left == (was if left[CHAMPION] == 1 else {CHAMPION: 3, PREVIOUS: 1})
        assert (Tag.rolled_back in registry.version(NAME, 3).tags) == (left[CHAMPION] == 1)
        assert registry.record(NAME).champion == left[CHAMPION]
    assert outcomes == {1, 3}
    assert point > 6
