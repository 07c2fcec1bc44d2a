"""What others do to the registry is noticed, and a person settles it."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from langmill.cli import call
from langmill.errors import RegistryError
from langmill.registry import steps
from langmill.registry.outcomes import all_settled, settle
from langmill.registry.promote import promote, rollback
from langmill.registry.status import status
from langmill.registry.store import ModelRegistry
from langmill.registry.trace import trace
from langmill.registry.versions import CHALLENGER, CHAMPION, PREVIOUS, ModelTag, State, Tag
from tests.refused import refused
from tests.unit.registry.building import URI, recipe_of
from tests.unit.registry.moving import NAME, aliases, force

pytestmark = pytest.mark.unit


def moved_by_hand(registry: ModelRegistry, to: int | None) -> None:
    if to is None:
        registry._client.delete_registered_model_alias(NAME, CHAMPION)
    else:
        registry._client.set_registered_model_alias(NAME, CHAMPION, str(to))


def test_an_alias_moved_by_other_means_is_told_and_settled_by_force(registry: ModelRegistry) -> None:
    force(registry, 1)
    moved_by_hand(registry, 2)
    told = "Langmill made version 1 the champion of reviews-lm; someone moved the alias to version 2 by other means."
    (found,) = status(URI)
    assert found.notes[0].startswith(told)
    verdict = steps.judge_version(recipe_of(NAME), registry.version(NAME, 3), URI)
    assert verdict.outcome == "cannot tell"
    assert "someone moved the alias to version 2" in verdict.sentence
    with refused(RegistryError, "mismatch", "version 1", "moved the alias to version 2", "--force"):
        promote(registry, NAME, 3, force=None, command="test")
    with refused(RegistryError, "mismatch", "version 1", "moved the alias to version 2", "--force"):
        rollback(registry, NAME, reason="", command="test")
    assert aliases(registry) == {CHAMPION: 2, CHALLENGER: 3}

    settled = promote(registry, NAME, 2, force="it was meant so", command="test")
    assert settled.sentence == "reviews-lm version 2 is the champion now in place of version 1."
    assert aliases(registry) == {CHAMPION: 2, PREVIOUS: 1, CHALLENGER: 3}
    assert registry.record(NAME).complaint() is None
    assert status(URI)[0].notes == ()
    assert steps.judge_version(recipe_of(NAME), registry.version(NAME, 3), URI).champion == 2


def test_an_alias_moved_by_other_means_can_be_put_back(registry: ModelRegistry) -> None:
    force(registry, 1)
    moved_by_hand(registry, 2)
    force(registry, 1)
    assert aliases(registry) == {CHAMPION: 1, PREVIOUS: 2, CHALLENGER: 3}
    assert registry.record(NAME).complaint() is None


@pytest.mark.parametrize("deleted", [False, True], ids=["alias", "version"])
def test_a_champion_that_is_gone_opens_no_door(registry: ModelRegistry, deleted: bool) -> None:
    """Without a champion the gate would compare with the trivial baseline and promote what it had refused."""
    force(registry, 1)
    force(registry, 2)
    recipe = recipe_of(NAME)
    recipe.gate.rules["improvement"] = {"min_effect": 10.0}
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
    with refused(RegistryError, "mismatch", told):
        promote(registry, NAME, 3, force=None, command="test")
    (found,) = status(URI)
    assert told in found.notes[0]
    assert "`langmill rollback reviews-lm` puts version 1 in service" in found.notes[0]

    back = rollback(registry, NAME, reason="", command="test")
    assert back.sentence == "reviews-lm version 1 is the champion again in place of version 2."
    assert aliases(registry) == {CHAMPION: 1, CHALLENGER: 3} | ({} if deleted else {PREVIOUS: 2})
    assert registry.record(NAME).complaint() is None


def without_previous(registry: ModelRegistry) -> None:
    registry._client.delete_registered_model_alias(NAME, PREVIOUS)


def test_a_rollback_finds_the_previous_version_in_the_ledger(registry: ModelRegistry) -> None:
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
    with refused(RegistryError, "missing", NAME, "previous"):
        rollback(registry, NAME, reason="", command="test")


def test_a_rollback_finds_it_where_both_aliases_are_gone(registry: ModelRegistry) -> None:
    force(registry, 1)
    force(registry, 2)
    without_previous(registry)
    moved_by_hand(registry, None)
    assert "`langmill rollback reviews-lm` puts version 1 in service" in str(registry.record(NAME).complaint())
    rollback(registry, NAME, reason="", command="test")
    assert aliases(registry) == {CHAMPION: 1, PREVIOUS: 2, CHALLENGER: 3}


def test_a_previous_version_from_the_ledger_must_be_good(registry: ModelRegistry) -> None:
    force(registry, 1)
    force(registry, 2)
    without_previous(registry)
    registry.note(registry.version(NAME, 1), {Tag.rolled_back: "it swears"})
    with refused(RegistryError, "refused", "rolled back itself: it swears", "--force"):
        rollback(registry, NAME, reason="", command="test")
    registry.unnote(registry.version(NAME, 1), Tag.rolled_back)
    registry.note(registry.version(NAME, 1), {Tag.state: State.rejected, Tag.reason: "broken"})
    with refused(RegistryError, "refused", "version 1", "validation", "broken"):
        rollback(registry, NAME, reason="", command="test")
    registry._client.delete_model_version(NAME, "1")
    assert registry.record(NAME).complaint() is None
    with refused(RegistryError, "missing", NAME, "previous"):
        rollback(registry, NAME, reason="", command="test")
    assert aliases(registry) == {CHAMPION: 2, CHALLENGER: 3}


@pytest.mark.parametrize("to", [None, 3])
def test_a_previous_version_that_others_moved_is_told_until_it_is_accepted(
    registry: ModelRegistry, to: int | None
) -> None:
    force(registry, 1)
    force(registry, 2)
    without_previous(registry)
    if to is not None:
        registry._client.set_registered_model_alias(NAME, PREVIOUS, str(to))
        assert "someone moved its alias to version 3 by other means" in str(registry.record(NAME).complaint())
    promote(registry, NAME, 2, force="it was meant so", command="test")
    assert registry.record(NAME).complaint() is None
    assert aliases(registry).get(PREVIOUS) == to


def test_the_previous_version_outlives_a_promotion_without_a_champion(registry: ModelRegistry) -> None:
    force(registry, 1)
    force(registry, 2)
    registry._client.delete_model_version(NAME, "2")
    force(registry, 3)
    assert aliases(registry) == {CHAMPION: 3, PREVIOUS: 1}


def test_an_alias_that_was_removed_is_put_back_by_force(registry: ModelRegistry) -> None:
    force(registry, 1)
    force(registry, 2)
    moved_by_hand(registry, None)
    force(registry, 2)
    assert aliases(registry) == {CHAMPION: 2, PREVIOUS: 1, CHALLENGER: 3}


def test_a_model_whose_every_alias_is_gone_is_still_in_the_status(registry: ModelRegistry) -> None:
    force(registry, 1)
    moved_by_hand(registry, None)
    registry._client.delete_registered_model_alias(NAME, CHALLENGER)
    (found,) = status(URI)
    assert (found.name, found.champion) == (NAME, None)
    assert "someone removed the alias" in found.notes[0]


def test_before_the_note_on_the_model_the_ledger_knows_the_champion(registry: ModelRegistry) -> None:
    force(registry, 1)
    registry._client.delete_registered_model_tag(NAME, ModelTag.champion)
    assert registry.record(NAME).champion == 1
    moved_by_hand(registry, None)
    with refused(RegistryError, "mismatch", "version 1", "removed the alias"):
        registry.champion(NAME)


def test_a_ledger_that_was_cut_stops_the_gate_until_a_person_accepts_it(registry: ModelRegistry) -> None:
    force(registry, 1)
    force(registry, 2)
    registry.ledger.path.unlink()
    told = "is not what was written: it has 0 entries of reviews-lm where the registry remembers 4"
    assert told in status(URI)[0].notes[0]
    verdict = steps.judge_version(recipe_of(NAME), registry.version(NAME, 3), URI)
    assert verdict.outcome == "cannot tell"
    assert told in verdict.sentence
    assert not steps.promote_if_passed(registry.version(NAME, 3), verdict, URI, "make-models").moved
    lineage = trace(URI, NAME, 2)
    assert any(told in sentence for sentence in lineage.damage)

    rollback(registry, NAME, reason="it swears", command="test")  # an emergency does not wait
    assert aliases(registry)[CHAMPION] == 1
    assert registry.record(NAME).ledger_complaint() is not None  # what it wrote hides nothing

    promote(registry, NAME, 1, force="the disk was lost", command="test")
    assert registry.record(NAME).complaint() is None
    lineage = trace(URI, NAME, 1)
    assert not lineage.damage
    assert "where the registry remembers 4" in lineage.text()
    assert "the disk was lost" in lineage.text()


def test_the_command_says_that_a_lineage_is_not_sound(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
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


def test_a_run_is_not_settled_once_its_version_was_deleted(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The remedy for a version with damaged files: delete it, and the next run registers the model anew."""
    monkeypatch.setattr("langmill.registry.outcomes.files_digest", lambda recipe: "as before")
    force(registry, 1)
    settle(NAME, 3, 1, "refused", "Not better.")
    assert all_settled([NAME], URI)
    registry._client.delete_model_version(NAME, "3")
    assert not all_settled([NAME], URI)
    assert steps.package_and_register(recipe_of(NAME), URI).version.version == 4


def test_workspaces_that_share_a_server_accuse_nobody(
    registry: ModelRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has a ledger of its own; the note on the model is what they share."""
    address = f"sqlite:///{Path.cwd() / '.langmill' / 'mlflow.db'}"
    workspaces = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        monkeypatch.setattr("langmill.registry.store.database_path", lambda uri: None)
        workspaces.append(ModelRegistry(address))
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
