"""What the registry is told of a version that failed on live traffic."""

from __future__ import annotations

import pytest

from langmill.errors import RegistryError
from langmill.registry.ledger import STOPPED
from langmill.registry.promote import promote
from langmill.registry.store import ModelRegistry
from langmill.registry.trace import trace
from langmill.registry.trials import stop_trial
from langmill.registry.versions import CHAMPION, Tag
from tests.refused import refused
from tests.unit.registry.building import URI
from tests.unit.registry.moving import NAME

pytestmark = pytest.mark.unit
WHY = "On live traffic, after 40 requests, it fails on 30.0% of them."


def stop(registry: ModelRegistry, version: int) -> str:
    return stop_trial(registry, NAME, version, reason=WHY, facts={"pairs": 40}, command="langmill serve").sentence


def champion(registry: ModelRegistry) -> int | None:
    found = registry.aliased(NAME, CHAMPION)
    return found and found.version


def test_a_challenger_that_failed_is_marked_and_the_ledger_says_why(registry: ModelRegistry) -> None:
    promote(registry, NAME, 1, force="first", command="")
    assert "version 1 stays champion" in stop(registry, 2)
    stop(registry, 2)
    (entry,) = [entry for entry in registry.ledger.entries(NAME) if entry.event == STOPPED]
    assert (entry.action, entry.target, entry.reason, entry.verdict) == ("trial", 2, WHY, {"pairs": 40})
    assert champion(registry) == 1
    assert registry.version(NAME, 2).tags[Tag.rolled_back] == WHY
    assert registry.record(NAME).complaint() is None, "no move is unfinished, and the chain is whole"
    assert registry.ledger.unfinished(NAME) is None
    with refused(RegistryError, "refused", WHY, "--force"):
        promote(registry, NAME, 2, force=None, command="")
    assert WHY in trace(URI, NAME, 2).text()
    assert promote(registry, NAME, 2, force="it was the network", command="").champion == 2


def test_a_champion_that_failed_gives_way_to_the_one_before(registry: ModelRegistry) -> None:
    promote(registry, NAME, 1, force="first", command="")
    promote(registry, NAME, 2, force="second", command="")
    stop(registry, 2)
    assert champion(registry) == 1
    move = registry.ledger.done(NAME)
    assert move is not None
    assert (move.action, move.reason, move.command) == ("rollback", WHY, "langmill serve")
    stop(registry, 2)
    assert champion(registry) == 1, "a second call does not go forward again"
