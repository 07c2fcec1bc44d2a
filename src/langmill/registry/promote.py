"""Move the champion, forward and back, so that a crash at any point can be recognised and put right.

A move writes all that it intends into the ledger (`begin`), marks a version that is rolled back, lets `previous` point
to the champion, then `champion` to the new version, notes the new champion on the registered model, and writes `done`.
Everything happens under the model's lock, by compare-and-swap, and is read back.

- Cut short before the champion moved: `repair` takes the mark and `previous` back. The champion never changed.
- Cut short after: `repair` finishes the move, whatever of it is missing, and writes `done`.

Where the champion was moved by other means, or the ledger was tampered with, nothing is promoted without `force`, which
settles it (`ModelRecord.complaint`).
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

from langmill.errors import LangmillError, RegistryError
from langmill.registry.ledger import Entry
from langmill.registry.store import ModelRegistry
from langmill.registry.verdict import Outcome, Verdict
from langmill.registry.versions import CHALLENGER, CHAMPION, PREVIOUS, ModelVersion, State, Tag


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


def promote(registry: ModelRegistry, name: str, version: int, *, force: str | None, command: str) -> Promotion:
    """Make a version the champion and the champion the previous one.

    Args:
        registry: Where the model is registered.
        name: The registered model.
        version: The version to promote.
        force: Why to promote although the gate did not let it through, or was not asked; None keeps to the verdict. It
            does not help a version that failed validation. It also settles what `ModelRecord.complaint` finds.
        command: What was typed, for the ledger.

    Raises:
        RegistryError: The version was not validated or was rolled back, the gate's verdict on it is missing, refusing
            or out of date, or the registry and the ledger disagree.
        ConflictError: Someone else moved an alias at the same moment.
    """
    with registry.locked(name):
        _repair_locked(registry, name)
        candidate = registry.version(name, version)
        complaint = registry.record(name).champion_complaint()
        if complaint is not None and force is None:
            raise RegistryError(complaint)
        champion, previous = registry.aliased(name, CHAMPION), registry.aliased(name, PREVIOUS)
        settled = force is None or registry.record(name).complaint() is None
        if settled and champion is not None and champion.version == version:
            return Promotion(False, name, version, version, f"{candidate.title} is the champion already.")
        _require_validated(candidate)
        verdict = Verdict.of(candidate)
        before = _displaced(registry, name, version, champion)
        demoted = before if before is not None else previous.version if previous else None
        reason = _require_verdict(candidate, verdict, before).sentence if force is None else force
        _move(
            registry,
            name,
            "promote",
            source=champion.version if champion else None,
            target=version,
            previous=previous.version if previous else None,
            demoted=demoted if demoted != version else None,
            reason=reason,
            forced=force is not None,
            verdict=verdict.to_json() if verdict else None,
            command=command,
        )
    instead = f" in place of version {before}" if before is not None else ""
    return Promotion(True, name, before, version, f"{candidate.title} is the champion now{instead}.")


def rollback(registry: ModelRegistry, name: str, *, reason: str, command: str) -> Promotion:
    """Put the previous version back in service; the one that was in service becomes the previous one.

    It does so too where someone took the alias of the champion or of the previous one away: then the ledger says which
    one that was.

    The version that is rolled back is marked, so that the next run of the flow does not promote it again; a person can,
    with `force`.

    Raises:
        RegistryError: There is no previous version, it failed validation, someone moved the champion by other means, or
            the version that the ledger names was rolled back.
        ConflictError: Someone else moved an alias at the same moment.
    """
    with registry.locked(name):
        _repair_locked(registry, name)
        champion, previous = registry.aliased(name, CHAMPION), registry.aliased(name, PREVIOUS)
        recorded = registry.record(name).champion
        if champion is not None and recorded not in (None, champion.version):
            raise RegistryError(str(registry.record(name).complaint()))
        before = champion.version if champion else recorded  # someone may have taken the alias away
        target = previous or _recorded_previous(registry, name)  # this one as well
        if before is None or target is None:
            raise RegistryError(
                f"{name} has no previous version to go back to; `langmill status` says what is in service."
            )
        if before == target.version:
            raise RegistryError(f"The previous version of {name} is its champion, so there is nothing to go back to.")
        if previous is None and Tag.rolled_back in target.tags:
            raise RegistryError(
                f"{target.title} was before, and was rolled back itself: {target.tags[Tag.rolled_back]}. "
                "To put it in service all the same, promote it with --force."
            )
        _require_validated(target)
        _move(
            registry,
            name,
            "rollback",
            source=champion.version if champion else None,
            target=target.version,
            previous=previous.version if previous else None,
            demoted=before if champion or registry.exists(name, before) else None,
            reason=reason,
            forced=False,
            verdict=None,
            command=command,
        )
    sentence = f"{target.title} is the champion again in place of version {before}."
    return Promotion(True, name, before, target.version, sentence)


def repair(registry: ModelRegistry, name: str) -> str | None:
    """Put right a move that was cut short, and say what was done; None where there was nothing to do.

    Raises:
        ConflictError: Someone else is moving the aliases outside Langmill.
    """
    if registry.ledger.unfinished(name) is None:
        return None
    with registry.locked(name):
        return _repair_locked(registry, name)


def _displaced(registry: ModelRegistry, name: str, version: int, champion: ModelVersion | None) -> int | None:
    """The version that gives way to `version`: the champion, or the recorded one where the alias was moved by hand."""
    if champion is not None and champion.version != version:
        return champion.version
    recorded = registry.record(name).champion
    if recorded is None or recorded == version or not registry.exists(name, recorded):
        return None
    return recorded


def _recorded_previous(registry: ModelRegistry, name: str) -> ModelVersion | None:
    number = registry.record(name).previous
    return None if number is None else registry.version(name, number)


def _repair_locked(registry: ModelRegistry, name: str) -> str | None:
    entry = registry.ledger.unfinished(name)
    if entry is None:
        return None
    champion = registry.aliased(name, CHAMPION)
    at = champion.version if champion else None
    happened = f"The {entry.action} of {name} to version {entry.target} had been cut short;"
    if at == entry.target:
        _finish(registry, entry)
        return f"{happened} it is complete now."
    if at == entry.source:
        if entry.action == "rollback" and entry.demoted is not None and registry.exists(name, entry.demoted):
            registry.unnote(registry.version(name, entry.demoted), Tag.rolled_back)
        _point_previous(registry, name, entry.previous)
    _write(registry, "undone", entry)
    kept = f"version {at}" if at is not None else "no version"
    return f"{happened} {kept} is still the champion."


def _move(registry: ModelRegistry, name: str, action: str, **facts: Any) -> None:
    """Move both aliases and all that goes with them, for a caller that holds the lock and has read them.

    The version that a rollback takes out is marked before anything moves: no other workspace may find it unmarked and
    promote it again.
    """
    try:
        entry = registry.write("begin", action, name, accept=facts["forced"], **facts)
        if action == "rollback" and entry.demoted is not None:
            registry.note(registry.version(name, entry.demoted), _mark(entry))
        registry.move_alias_locked(name, PREVIOUS, entry.demoted, entry.previous)
        registry.move_alias_locked(name, CHAMPION, entry.target, entry.source)
        _finish(registry, entry)
    except LangmillError:
        with contextlib.suppress(LangmillError):  # a registry that is gone is repaired when it is back
            _repair_locked(registry, name)
        raise


def _finish(registry: ModelRegistry, entry: Entry) -> None:
    """Do what is left to do once `champion` points to the target; doing it twice changes nothing."""
    name = entry.name
    _point_previous(registry, name, entry.demoted)
    registry.record_champion(name, entry.target)
    if entry.action == "rollback" and entry.demoted is not None and registry.exists(name, entry.demoted):
        registry.note(registry.version(name, entry.demoted), _mark(entry))
    registry.unnote(registry.version(name, entry.target), Tag.rolled_back)
    challenger = registry.aliased(name, CHALLENGER)
    if challenger is not None and challenger.version == entry.target and entry.action == "promote":
        registry.move_alias_locked(name, CHALLENGER, None, entry.target)
    _write(registry, "done", entry)


def _mark(entry: Entry) -> dict[str, str]:
    return {Tag.rolled_back: entry.reason or "no reason given"}


def _point_previous(registry: ModelRegistry, name: str, version: int | None) -> None:
    """Let `previous` point to a version, or nowhere if that one is gone by now."""
    found = registry.aliased(name, PREVIOUS)
    to = version if version is not None and registry.exists(name, version) else None
    registry.move_alias_locked(name, PREVIOUS, to, found.version if found else None)


def _write(registry: ModelRegistry, event: str, entry: Entry) -> None:
    registry.write(
        event,
        entry.action,
        entry.name,
        source=entry.source,
        target=entry.target,
        previous=entry.previous,
        demoted=entry.demoted,
        reason=entry.reason,
        forced=entry.forced,
        verdict=entry.verdict,
        command=entry.command,
    )


def _require_validated(version: ModelVersion) -> None:
    if version.state == State.rejected:
        reason = version.tags.get(Tag.reason, "no reason noted")
        raise RegistryError(f"{version.title} failed validation and can't be champion: {reason}")
    if version.state != State.validated:
        reason = f" ({version.tags[Tag.reason]})" if Tag.reason in version.tags else ""
        raise RegistryError(f"{version.title} was never validated{reason}; `langmill run {version.name}` does it.")


def _require_verdict(version: ModelVersion, verdict: Verdict | None, champion: int | None) -> Verdict:
    hint = "To promote it all the same, give a reason with --force."
    if Tag.rolled_back in version.tags:  # the verdict may be of before that
        raise RegistryError(f"{version.title} was rolled back: {version.tags[Tag.rolled_back]}. {hint}")
    if verdict is None:
        raise RegistryError(f"The gate was never asked about {version.title}; `langmill run` asks it. {hint}")
    if not verdict.passed:
        said = "could not tell of" if verdict.outcome is Outcome.cannot_tell else "refused"
        raise RegistryError(f"The gate {said} {version.title}: {verdict.sentence} {hint}")
    if verdict.champion != champion:
        raise RegistryError(
            f"The gate compared {version.title} with {verdict.against}, which is not the champion now; "
            f"`langmill run` compares it again. {hint}"
        )
    return verdict
