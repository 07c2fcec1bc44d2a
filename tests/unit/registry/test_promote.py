from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from langmill.cli import call
from langmill.errors import ConflictError, RegistryError
from langmill.registry import steps
from langmill.registry.ledger import Ledger
from langmill.registry.outcomes import all_settled, settle
from langmill.registry.promote import promote, repair, rollback
from langmill.registry.status import status
from langmill.registry.store import Registry
from langmill.registry.trace import trace
from langmill.registry.versions import CHALLENGER, CHAMPION, PREVIOUS, ModelTag, State, Tag
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
    """The test's own copy of that registry."""
    shutil.copytree(three, tmp_path / "copy")
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
    assert again.sentence.startswith("reviews-lm version 1 is the champion already (weights ")
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
    with pytest.raises(RegistryError, match="was rolled back: it swears"):
        promote(registry, NAME, 2, force=None, command="test")
    force(registry, 2)
    assert Tag.rolled_back not in registry.version(NAME, 2).tags


def test_a_verdict_of_before_the_rollback_brings_nothing_back(registry: Registry) -> None:
    """The bad version was promoted against the very champion that is in service again."""
    force(registry, 1)
    assert steps.judge_version(recipe_of(NAME), registry.version(NAME, 3), URI).outcome == "passed"
    promote(registry, NAME, 3, force=None, command="test")
    rollback(registry, NAME, reason="it swears", command="test")
    with pytest.raises(RegistryError, match="was rolled back: it swears"):
        promote(registry, NAME, 3, force=None, command="test")
    assert aliases(registry)[CHAMPION] == 1


def test_a_second_rollback_clears_the_version_that_it_restores(registry: Registry) -> None:
    force(registry, 1)
    force(registry, 2)
    rollback(registry, NAME, reason="it swears", command="test")
    rollback(registry, NAME, reason="that was the prompt", command="test")
    assert aliases(registry) == {CHAMPION: 2, PREVIOUS: 1, CHALLENGER: 3}
    assert Tag.rolled_back not in registry.version(NAME, 2).tags
    assert registry.version(NAME, 1).tags[Tag.rolled_back] == "that was the prompt"


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


# At every point


WRITES = (
    "set_registered_model_alias", "delete_registered_model_alias", "set_model_version_tag", "delete_model_version_tag",
    "set_registered_model_tag",
)  # fmt: skip


@contextlib.contextmanager
def power_cut(registry: Registry, point: int, *, before: bool) -> Iterator[list[str]]:
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


def fresh(three: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A workspace in which version 3 is judged and in service, and version 1 was before."""
    shutil.copytree(three, folder)
    monkeypatch.chdir(folder)
    registry = Registry(URI)
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
        registry = Registry(URI)
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
        with pytest.raises(RegistryError, match="was rolled back"):
            promote(registry, NAME, 3, force=None, command="the next run")
        verdict = steps.judge_version(recipe_of(NAME), registry.version(NAME, 3), URI)
        assert not steps.promote_if_passed(registry.version(NAME, 3), verdict, URI, "the next run").moved
        assert aliases(registry) == {CHAMPION: 1, PREVIOUS: 3}
    assert outcomes == {"undone", "done"}
    assert point > 7
    assert template.ledger.path != registry.ledger.path


def copied(template: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    shutil.copytree(template, folder)
    monkeypatch.chdir(folder)
    return Registry(URI)


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_no_crash_of_a_promotion_leaves_half_of_it(
    three: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    fresh(three, tmp_path / "template", monkeypatch)
    rollback(Registry(URI), NAME, reason="it swears", command="test")  # so that there is a mark to take off
    was = aliases(Registry(URI))
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
        registry = Registry(URI)
        repair(registry, NAME)
        left = aliases(registry)
        assert registry.record(NAME).complaint() is None, (point, written)
        outcomes.add(left[CHAMPION])
        assert left == (was if left[CHAMPION] == 1 else {CHAMPION: 3, PREVIOUS: 1})
        assert (Tag.rolled_back in registry.version(NAME, 3).tags) == (left[CHAMPION] == 1)
        assert registry.record(NAME).champion == left[CHAMPION]
    assert outcomes == {1, 3}
    assert point > 6


# What others do to the registry


def moved_by_hand(registry: Registry, to: int | None) -> None:
    if to is None:
        registry._client.delete_registered_model_alias(NAME, CHAMPION)
    else:
        registry._client.set_registered_model_alias(NAME, CHAMPION, str(to))


def test_an_alias_moved_by_other_means_is_told_and_settled_by_force(registry: Registry) -> None:
    force(registry, 1)
    moved_by_hand(registry, 2)
    told = "Langmill made version 1 the champion of reviews-lm; someone moved the alias to version 2 by other means."
    (found,) = status(URI)
    assert found.notes[0].startswith(told)
    verdict = steps.judge_version(recipe_of(NAME), registry.version(NAME, 3), URI)
    assert verdict.outcome == "cannot tell"
    assert "someone moved the alias to version 2" in verdict.sentence
    with pytest.raises(RegistryError, match="someone moved the alias to version 2"):
        promote(registry, NAME, 3, force=None, command="test")
    with pytest.raises(RegistryError, match="someone moved the alias to version 2"):
        rollback(registry, NAME, reason="", command="test")
    assert aliases(registry) == {CHAMPION: 2, CHALLENGER: 3}

    settled = promote(registry, NAME, 2, force="it was meant so", command="test")
    assert settled.sentence == "reviews-lm version 2 is the champion now in place of version 1."
    assert aliases(registry) == {CHAMPION: 2, PREVIOUS: 1, CHALLENGER: 3}
    assert registry.record(NAME).complaint() is None
    assert status(URI)[0].notes == ()
    assert steps.judge_version(recipe_of(NAME), registry.version(NAME, 3), URI).champion == 2


def test_an_alias_moved_by_other_means_can_be_put_back(registry: Registry) -> None:
    force(registry, 1)
    moved_by_hand(registry, 2)
    force(registry, 1)
    assert aliases(registry) == {CHAMPION: 1, PREVIOUS: 2, CHALLENGER: 3}
    assert registry.record(NAME).complaint() is None


@pytest.mark.parametrize("deleted", [False, True], ids=["alias", "version"])
def test_a_champion_that_is_gone_opens_no_door(registry: Registry, deleted: bool) -> None:
    """Without a champion the gate would compare with the trivial baseline and promote what it had refused."""
    force(registry, 1)
    force(registry, 2)
    recipe = recipe_of(NAME)
    recipe.gate.min_effect = 10.0
    assert steps.judge_version(recipe, registry.version(NAME, 3), URI).outcome == "refused"
    if deleted:
        registry._client.delete_model_version(NAME, "2")
    else:
        moved_by_hand(registry, None)
    told = "Version 2 of reviews-lm, its champion, was deleted" if deleted else "someone removed the alias"
    verdict = steps.judge_version(recipe_of(NAME), registry.version(NAME, 3), URI)
    assert verdict.outcome == "cannot tell"
    assert told in verdict.sentence
    assert not steps.promote_if_passed(registry.version(NAME, 3), verdict, URI, "make-models").moved
    with pytest.raises(RegistryError, match=told):
        promote(registry, NAME, 3, force=None, command="test")
    (found,) = status(URI)
    assert told in found.notes[0]
    assert "`langmill rollback reviews-lm` puts version 1 in service" in found.notes[0]

    back = rollback(registry, NAME, reason="", command="test")
    assert back.sentence == "reviews-lm version 1 is the champion again in place of version 2."
    assert aliases(registry) == {CHAMPION: 1, CHALLENGER: 3} | ({} if deleted else {PREVIOUS: 2})
    assert registry.record(NAME).complaint() is None


def without_previous(registry: Registry) -> None:
    registry._client.delete_registered_model_alias(NAME, PREVIOUS)


def test_a_rollback_finds_the_previous_version_in_the_ledger(registry: Registry) -> None:
    force(registry, 1)
    force(registry, 2)
    without_previous(registry)
    told = (
        "Langmill made version 1 the previous one of reviews-lm; someone removed its alias by other means: `langmill "
        "rollback reviews-lm` goes back to version 1 all the same, and `langmill promote reviews-lm 2 --force REASON` "
        "leaves it as it is."
    )
    assert registry.record(NAME).complaint() == told
    assert status(URI)[0].notes == (told,)
    assert registry.champion(NAME) == registry.version(NAME, 2)  # nothing is wrong with what is in service
    assert not promote(registry, NAME, 2, force=None, command="test").moved
    back = rollback(registry, NAME, reason="it swears", command="test")
    assert back.sentence == "reviews-lm version 1 is the champion again in place of version 2."
    assert aliases(registry) == {CHAMPION: 1, PREVIOUS: 2, CHALLENGER: 3}
    assert registry.record(NAME).complaint() is None

    without_previous(registry)  # of the bad version
    assert "it was rolled back, so only `langmill promote reviews-lm 2 --force REASON`" in str(
        registry.record(NAME).complaint()
    )
    with pytest.raises(RegistryError, match="has no previous version"):
        rollback(registry, NAME, reason="", command="test")


def test_a_rollback_finds_it_where_both_aliases_are_gone(registry: Registry) -> None:
    force(registry, 1)
    force(registry, 2)
    without_previous(registry)
    moved_by_hand(registry, None)
    assert "`langmill rollback reviews-lm` puts version 1 in service" in str(registry.record(NAME).complaint())
    rollback(registry, NAME, reason="", command="test")
    assert aliases(registry) == {CHAMPION: 1, PREVIOUS: 2, CHALLENGER: 3}


def test_a_previous_version_from_the_ledger_must_be_good(registry: Registry) -> None:
    force(registry, 1)
    force(registry, 2)
    without_previous(registry)
    registry.note(registry.version(NAME, 1), {Tag.rolled_back: "it swears"})
    with pytest.raises(RegistryError, match="was rolled back itself: it swears"):
        rollback(registry, NAME, reason="", command="test")
    registry.unnote(registry.version(NAME, 1), Tag.rolled_back)
    registry.note(registry.version(NAME, 1), {Tag.state: State.rejected, Tag.reason: "broken"})
    with pytest.raises(RegistryError, match="failed validation and can't be champion: broken"):
        rollback(registry, NAME, reason="", command="test")
    registry._client.delete_model_version(NAME, "1")
    assert registry.record(NAME).complaint() is None
    with pytest.raises(RegistryError, match="has no previous version"):
        rollback(registry, NAME, reason="", command="test")
    assert aliases(registry) == {CHAMPION: 2, CHALLENGER: 3}


@pytest.mark.parametrize("to", [None, 3])
def test_a_previous_version_that_others_moved_is_told_until_it_is_accepted(registry: Registry, to: int | None) -> None:
    force(registry, 1)
    force(registry, 2)
    without_previous(registry)
    if to is not None:
        registry._client.set_registered_model_alias(NAME, PREVIOUS, str(to))
        assert "someone moved its alias to version 3 by other means" in str(registry.record(NAME).complaint())
    promote(registry, NAME, 2, force="it was meant so", command="test")
    assert registry.record(NAME).complaint() is None
    assert aliases(registry).get(PREVIOUS) == to


def test_the_previous_version_outlives_a_promotion_without_a_champion(registry: Registry) -> None:
    force(registry, 1)
    force(registry, 2)
    registry._client.delete_model_version(NAME, "2")
    force(registry, 3)
    assert aliases(registry) == {CHAMPION: 3, PREVIOUS: 1}


def test_an_alias_that_was_removed_is_put_back_by_force(registry: Registry) -> None:
    force(registry, 1)
    force(registry, 2)
    moved_by_hand(registry, None)
    force(registry, 2)
    assert aliases(registry) == {CHAMPION: 2, PREVIOUS: 1, CHALLENGER: 3}


def test_a_model_whose_every_alias_is_gone_is_still_in_the_status(registry: Registry) -> None:
    force(registry, 1)
    moved_by_hand(registry, None)
    registry._client.delete_registered_model_alias(NAME, CHALLENGER)
    (found,) = status(URI)
    assert (found.name, found.champion) == (NAME, None)
    assert "someone removed the alias" in found.notes[0]


def test_before_the_note_on_the_model_the_ledger_knows_the_champion(registry: Registry) -> None:
    force(registry, 1)
    registry._client.delete_registered_model_tag(NAME, ModelTag.champion)
    assert registry.record(NAME).champion == 1
    moved_by_hand(registry, None)
    with pytest.raises(RegistryError, match="someone removed the alias"):
        registry.champion(NAME)


def test_a_ledger_that_was_cut_stops_the_gate_until_a_person_accepts_it(registry: Registry) -> None:
    force(registry, 1)
    force(registry, 2)
    registry.ledger.path.unlink()
    told = "is not what was written: it has 0 entries of reviews-lm where the registry remembers 4"
    assert told in status(URI)[0].notes[0]
    verdict = steps.judge_version(recipe_of(NAME), registry.version(NAME, 3), URI)
    assert verdict.outcome == "cannot tell"
    assert told in verdict.sentence
    assert not steps.promote_if_passed(registry.version(NAME, 3), verdict, URI, "make-models").moved
    story = trace(URI, NAME, 2)
    assert not story.sound
    assert any(told in sentence for sentence in story.damage)

    rollback(registry, NAME, reason="it swears", command="test")  # an emergency does not wait
    assert aliases(registry)[CHAMPION] == 1
    assert registry.record(NAME).ledger_complaint() is not None  # what it wrote hides nothing

    promote(registry, NAME, 1, force="the disk was lost", command="test")
    assert registry.record(NAME).complaint() is None
    story = trace(URI, NAME, 1)
    assert story.sound
    assert "where the registry remembers 4" in story.text()
    assert "the disk was lost" in story.text()


def test_the_command_says_that_a_story_is_not_sound(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("langmill.cli.workspace.operation", lambda: SimpleNamespace(tracking_uri=URI))
    force(registry, 1)
    assert call(["trace", NAME]) == 0
    assert "Not sound" not in capsys.readouterr().out
    path = registry.ledger.path
    path.write_text(path.read_text().replace("for the test", "for the fun"))
    assert call(["trace", NAME]) == 1
    assert re.search(
        r"\nNot sound\. ledger of .* is not what was written: its entry of .* was changed", capsys.readouterr().out
    )


def test_a_run_is_not_settled_once_its_version_was_deleted(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """The remedy for a version with damaged files: delete it, and the next run registers the model anew."""
    monkeypatch.setattr("langmill.registry.outcomes.files_digest", lambda recipe: "as before")
    force(registry, 1)
    settle(NAME, 3, 1, "refused", "Not better.")
    assert all_settled([NAME], URI)
    registry._client.delete_model_version(NAME, "3")
    assert not all_settled([NAME], URI)
    assert steps.package_and_register(recipe_of(NAME), URI).version.version == 4


def test_workspaces_that_share_a_server_accuse_nobody(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has a ledger of its own; the note on the model is what they share."""
    address = f"sqlite:///{Path.cwd() / '.langmill' / 'mlflow.db'}"
    workspaces = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        monkeypatch.setattr("langmill.registry.store.database_path", lambda uri: None)
        workspaces.append(Registry(address))
        assert workspaces[-1].ledger.path == tmp_path / name / ".langmill" / "ledger.jsonl"
    one, two = workspaces
    force(one, 1)
    assert two.record(NAME).champion == 1
    force(two, 2)
    for workspace in workspaces:
        assert workspace.record(NAME).complaint() is None
        assert workspace.champion(NAME) == workspace.version(NAME, 2)
    force(one, 3)
    one.ledger.path.unlink()
    assert "the registry remembers 4" in str(one.record(NAME).complaint())
    assert two.record(NAME).complaint() is None
