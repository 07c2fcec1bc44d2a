"""Move the champion, forward and back, so that a crash at any point can be told and put right.

A move writes `begin` into the ledger, lets `previous` point to the champion, then `champion` to the new version, and
writes `done`. Everything happens under the registry's lock, by compare-and-swap, and is read back.

- Cut short before the champion moved: `repair` puts `previous` back to where it was. The champion never changed.
- Cut short after: `repair` finishes the move and writes the missing `done`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langmill.errors import LangmillError, RegistryError
from langmill.registry.gate import Verdict
from langmill.registry.ledger import Entry
from langmill.registry.store import CHALLENGER, CHAMPION, PREVIOUS, ModelVersion, Registry, State, Tag


@dataclass(frozen=True)
class Promotion:
    """What became of the champion."""

    moved: bool
    name: str
    before: int | None
    """The champion before."""
    champion: int | None
    """The champion now."""
    sentence: str


def promote(registry: Registry, name: str, version: int, *, force: str | None, command: str) -> Promotion:
    """Make a version the champion and the champion the previous one.

    Args:
        registry: Where the model is registered.
        name: The registered model.
        version: The version to promote.
        force: Why to promote although the gate did not let it through, or was not asked; None keeps to the verdict. It
            does not help a version that failed validation.
        command: What was typed, for the ledger.

    Raises:
        RegistryError: The version was not validated, or the gate's verdict on it is missing, refusing or out of date.
        ConflictError: Someone else moved an alias at the same moment.
    """
    with registry.locked():
        _repair_locked(registry, name)
        candidate = registry.version(name, version)
        champion, previous = registry.champion(name), registry.aliased(name, PREVIOUS)
        before = champion.version if champion else None
        if before == version:
            return Promotion(False, name, before, version, f"{candidate.title} is the champion already.")
        _require_validated(candidate)
        verdict = Verdict.of(candidate)
        reason = _require_verdict(candidate, verdict, before).sentence if force is None else force
        _move(
            registry,
            candidate,
            champion,
            previous,
            action="promote",
            reason=reason,
            forced=force is not None,
            verdict=verdict.to_json() if verdict else None,
            command=command,
        )
        registry.unnote(candidate, Tag.rolled_back)
        challenger = registry.aliased(name, CHALLENGER)
        if challenger is not None and challenger.version == version:
            registry.move_alias_locked(name, CHALLENGER, None, version)
    instead = f" in place of version {before}" if before is not None else ""
    return Promotion(True, name, before, version, f"{candidate.title} is the champion now{instead}.")


def rollback(registry: Registry, name: str, *, reason: str, command: str) -> Promotion:
    """Put the previous version back in service; the one that was in service becomes the previous one.

    The version that is rolled back is marked, so that the next run of the flow does not promote it again; a person can,
    with `force`.

    Raises:
        RegistryError: There is no previous version, or it failed validation.
        ConflictError: Someone else moved an alias at the same moment.
    """
    with registry.locked():
        _repair_locked(registry, name)
        champion, previous = registry.champion(name), registry.aliased(name, PREVIOUS)
        if champion is None or previous is None:
            raise RegistryError(
                f"{name} has no previous version to go back to; `langmill status` says what is in service."
            )
        if champion.version == previous.version:
            raise RegistryError(f"The previous version of {name} is its champion, so there is nothing to go back to.")
        _require_validated(previous)
        _move(
            registry,
            previous,
            champion,
            previous,
            action="rollback",
            reason=reason,
            forced=False,
            verdict=None,
            command=command,
        )
        registry.note(champion, {Tag.rolled_back: reason or "no reason given"})
    sentence = f"{previous.title} is the champion again in place of version {champion.version}."
    return Promotion(True, name, champion.version, previous.version, sentence)


def repair(registry: Registry, name: str) -> str | None:
    """Put right a move that was cut short, and say what was done; None where there was nothing to do.

    Raises:
        ConflictError: Someone else is moving the aliases outside Langmill.
    """
    if registry.ledger.unfinished(name) is None:
        return None
    with registry.locked():
        return _repair_locked(registry, name)


def _repair_locked(registry: Registry, name: str) -> str | None:
    entry = registry.ledger.unfinished(name)
    if entry is None:
        return None
    champion, previous = registry.champion(name), registry.aliased(name, PREVIOUS)
    at = previous.version if previous else None
    if champion is not None and champion.version == entry.target:
        registry.move_alias_locked(name, PREVIOUS, entry.source, at)
        _write(registry, "done", entry)
        return f"The {entry.action} of {name} to version {entry.target} had been cut short; it is complete now."
    if (champion.version if champion else None) == entry.source:
        registry.move_alias_locked(name, PREVIOUS, entry.previous, at)
    _write(registry, "undone", entry)
    kept = f"version {champion.version}" if champion else "no version"
    return f"The {entry.action} of {name} to version {entry.target} had been cut short; {kept} is still the champion."


def _move(
    registry: Registry,
    to: ModelVersion,
    champion: ModelVersion | None,
    previous: ModelVersion | None,
    *,
    action: str,
    reason: str,
    forced: bool,
    verdict: Mapping[str, Any] | None,
    command: str,
) -> None:
    """Move both aliases, for a caller that holds the lock and has read them."""
    source = champion.version if champion else None
    before = previous.version if previous else None
    entry = registry.ledger.append(
        "begin",
        action,
        to.name,
        source=source,
        target=to.version,
        previous=before,
        reason=reason,
        forced=forced,
        verdict=verdict,
        command=command,
    )
    try:
        registry.move_alias_locked(to.name, PREVIOUS, source, before)
        registry.move_alias_locked(to.name, CHAMPION, to.version, source)
    except LangmillError:
        with contextlib.suppress(LangmillError):  # a registry that is gone is repaired when it is back
            _repair_locked(registry, to.name)
        raise
    _write(registry, "done", entry)


def _write(registry: Registry, event: str, entry: Entry) -> None:
    registry.ledger.append(
        event,
        entry.action,
        entry.name,
        source=entry.source,
        target=entry.target,
        previous=entry.previous,
        reason=entry.reason,
        forced=entry.forced,
        verdict=entry.verdict,
        command=entry.command,
    )


def _require_validated(version: ModelVersion) -> None:
    if version.state == State.rejected:
        raise RegistryError(
            f"{version.title} failed validation and can't be champion: "
            f"{version.tags.get(Tag.reason, 'no reason noted')} Make the model again with `langmill run`."
        )
    if version.state != State.validated:
        raise RegistryError(f"{version.title} was never validated; `langmill run {version.name}` does it.")


def _require_verdict(version: ModelVersion, verdict: Verdict | None, champion: int | None) -> Verdict:
    hint = "To promote it all the same, give a reason with --force."
    if verdict is None:
        raise RegistryError(f"The gate was never asked about {version.title}; `langmill run` asks it. {hint}")
    if not verdict.passed:
        raise RegistryError(f"The gate refused {version.title}: {verdict.sentence} {hint}")
    if verdict.champion != champion:
        raise RegistryError(
            f"The gate compared {version.title} with {verdict.against}, which is not the champion now; "
            f"`langmill run` compares it again. {hint}"
        )
    return verdict
