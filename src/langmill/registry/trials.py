"""What follows when a version fails on live traffic: the way back, and a note in the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langmill.registry.ledger import STOPPED, Entry
from langmill.registry.promote import Promotion, repair, rollback
from langmill.registry.store import ModelRegistry
from langmill.registry.versions import CHAMPION, Tag


def stop_trial(
    registry: ModelRegistry, name: str, version: int, *, reason: str, facts: Mapping[str, Any], command: str
) -> Promotion:
    """Roll a version back if it is champion; else mark it, so that it is not promoted without a person's `--force`.

    Doing it twice changes nothing.

    Args:
        registry: Where the version is.
        name: The registered model.
        version: The one that failed.
        reason: Why, in a sentence.
        facts: What was measured, for the ledger.
        command: What asked.

    Raises:
        RegistryError: It is champion and there is no version to go back to.
        ConflictError: Someone else moved an alias at the same moment.
    """
    repair(registry, name)
    champion = registry.aliased(name, CHAMPION)
    if champion is not None and champion.version == version:
        return rollback(registry, name, reason=reason, command=command)
    with registry.locked(name):
        stopped = registry.version(name, version)
        if Tag.rolled_back not in stopped.tags:
            at = champion.version if champion else None
            registry.write(
                Entry(
                    STOPPED,
                    "trial",
                    name,
                    source=at,
                    target=version,
                    previous=None,
                    demoted=None,
                    reason=reason,
                    forced=False,
                    verdict=facts,
                    command=command,
                )
            )
            registry.note(stopped, {Tag.rolled_back: reason})
    kept = "no version" if champion is None else f"version {champion.version}"
    return Promotion(
        False, champion.version if champion else None, f"{stopped.title} was stopped; {kept} stays champion."
    )
