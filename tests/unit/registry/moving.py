"""Champions moved, and what that left in the registry."""

from __future__ import annotations

from langmill.registry.promote import promote
from langmill.registry.store import ModelRegistry
from langmill.registry.versions import CHALLENGER, CHAMPION, PREVIOUS
from tests.unit.registry.building import LANGUAGE_MODEL

NAME = LANGUAGE_MODEL


def force(registry: ModelRegistry, version: int) -> None:
    promote(registry, NAME, version, force="for the test", command="test")


def aliases(registry: ModelRegistry) -> dict[str, int]:
    found = registry.record(NAME).aliases
    return {alias: found[alias] for alias in (CHAMPION, CHALLENGER, PREVIOUS) if alias in found}


def events(registry: ModelRegistry) -> list[tuple[str, str, int | None, int]]:
    return [(entry.event, entry.action, entry.source, entry.target) for entry in registry.ledger.entries(NAME)]
