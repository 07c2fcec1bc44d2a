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
from dataclasses import dataclass, replace

from langmill.errors import LangmillError, RegistryError
from langmill.registry.ledger import Entry
from langmill.registry.store import ModelRegistry
from langmill.registry.verdict import Outcome, Verdict
from langmill.registry.versions import CHALLENGER, CHAMPION, PREVIOUS, ModelTag, ModelVersion, State, Tag


@dataclass(frozen=True)
class Promotion:
    """What became of the champion."""

    moved: bool
    champion: int | None
    """The champion now."""
    sentence: str


def promote(registry: ModelRegistry, name: str, version: int, *, force: str | None, command: str) -> Promotion:
    """Make a version the champion and the champion the previous one.

    `force` is why to promote although the gate did not let it through, or was not asked; None keeps to the verdict. It
    does not help a version that failed validation. It also settles what `ModelRecord.complaint` finds. `command` is
    what was typed, for the ledger.

    Raises:
        RegistryError: The version was not validated or was rolled back, the gate's verdict on it is missing, refusing
            or out of date, or the registry and the ledger disagree.
        ConflictError: Someone else moved an alias at the same moment.
    """
    with registry.locked(name):
        _repair_locked(registry, name)
        candidate = registry.version(name, version)
        record = registry.record(name)
        complaint = record.champion_complaint()
        if complaint is not None and force is None:
            raise RegistryError(complaint, "mismatch")
        champion, previous = registry.aliased(name, CHAMPION), registry.aliased(name, PREVIOUS)
        settled = force is None or record.complaint() is None
        if settled and champion is not None and champion.version == version:
            return Promotion(False, version, f"{candidate.title} is the champion already.")
        _require_validated(candidate)
        verdict = Verdict.of(candidate)
        before = _displaced(registry, name, version, champion)
        demoted = before if before is not None else previous.version if previous else None
        reason = _require_verdict(candidate, verdict, before).sentence if force is None else force
        move = Entry(
            "begin",
            "promote",
            name,
            source=champion.version if champion else None,
            target=version,
            previous=previous.version if previous else None,
            demoted=demoted if demoted != version else None,
            reason=reason,
            forced=force is not None,
            verdict=verdict.to_json() if verdict else None,
            command=command,
        )
        _move(registry, move)
    instead = f" in place of version {before}" if before is not None else ""
    return Promotion(True, version, f"{candidate.title} is the champion now{instead}.")


def rollback(registry: ModelRegistry, name: str, *, reason: str, command: str) -> Promotion:
    """Put the previous version back in service; the one that was in service becomes the previous one.

    Where someone took the alias of either away, the ledger says which one that was. The version that is rolled back is
    marked, so that the next run of the flow does not promote it again; a person can, with `force`.

    Raises:
        RegistryError: There is no previous version, it failed validation, someone moved the champion by other means, or
            the version that the ledger names was rolled back.
        ConflictError: Someone else moved an alias at the same moment.
    """
    with registry.locked(name):
        _repair_locked(registry, name)
        champion, previous = registry.aliased(name, CHAMPION), registry.aliased(name, PREVIOUS)
        record = registry.record(name)
        if champion is not None and record.champion not in (None, champion.version):
            raise RegistryError(str(record.complaint()), "mismatch")
        before = champion.version if champion else record.champion  # someone may have taken the alias away
        target = previous
        if previous is None and (number := record.previous) is not None:  # this one as well
            target = registry.version(name, number)
        if before is None or target is None:
            raise RegistryError(
                f"{name} has no previous version to go back to; `langmill status` says what is in service.", "missing"
            )
        if before == target.version:
            sentence = f"The previous version of {name} is its champion, so there is nothing to go back to."
            raise RegistryError(sentence, "impossible")
        if previous is None and Tag.rolled_back in target.tags:
            raise RegistryError(
                f"{target.title} was before, and was rolled back itself: {target.tags[Tag.rolled_back]}. "
                "To put it in service all the same, promote it with --force.",
                "refused",
            )
        _require_validated(target)
        move = Entry(
            "begin",
            "rollback",
            name,
            source=champion.version if champion else None,
            target=target.version,
            previous=previous.version if previous else None,
            demoted=before if champion or registry.exists(name, before) else None,
            reason=reason,
            forced=False,
            verdict=None,
            command=command,
        )
        _move(registry, move)
    return Promotion(True, target.version, f"{target.title} is the champion again in place of version {before}.")


def repair(registry: ModelRegistry, name: str) -> str | None:
    """Put right a move that was cut short, and say what was done; None where there was nothing to do."""
    if registry.ledger.unfinished(name) is None:
        return None
    with registry.locked(name):
        return _repair_locked(registry, name)


def _displaced(registry: ModelRegistry, name: str, version: int, champion: ModelVersion | None) -> int | None:
    """The version that gives way to `version`: the champion, or the recorded one where the alias was moved by hand."""
    if champion is not None and champion.version != version:
        return champion.version
    recorded = registry.record(name).champion
    return recorded if recorded not in (None, version) and registry.exists(name, recorded) else None


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
    registry.write(replace(entry, event="undone"))
    kept = f"version {at}" if at is not None else "no version"
    return f"{happened} {kept} is still the champion."


def _move(registry: ModelRegistry, entry: Entry) -> None:
    """Move both aliases and all that goes with them, for a caller that holds the lock and has read them.

    The version that a rollback takes out is marked before anything moves: no other workspace may find it unmarked and
    promote it again.
    """
    name = entry.name
    try:
        registry.write(entry, accept=entry.forced)
        if entry.action == "rollback":
            _mark(registry, entry)
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
    registry.note_model(name, ModelTag.champion, str(entry.target))
    if entry.action == "rollback":
        _mark(registry, entry)
    registry.unnote(registry.version(name, entry.target), Tag.rolled_back)
    challenger = registry.aliased(name, CHALLENGER)
    if challenger is not None and challenger.version == entry.target and entry.action == "promote":
        registry.move_alias_locked(name, CHALLENGER, None, entry.target)
    registry.write(replace(entry, event="done"))


def _mark(registry: ModelRegistry, rollback: Entry) -> None:
    """Note on the version that gives way that it was rolled back."""
    if rollback.demoted is not None and registry.exists(rollback.name, rollback.demoted):
        demoted = registry.version(rollback.name, rollback.demoted)
        registry.note(demoted, {Tag.rolled_back: rollback.reason or "no reason given"})


def _point_previous(registry: ModelRegistry, name: str, version: int | None) -> None:
    """Let `previous` point to a version, or nowhere if that one is gone by now."""
    found = registry.aliased(name, PREVIOUS)
    to = version if version is not None and registry.exists(name, version) else None
    registry.move_alias_locked(name, PREVIOUS, to, found.version if found else None)


def _require_validated(version: ModelVersion) -> None:
    reason = version.tags.get(Tag.reason, "no reason noted")
    if version.state == State.rejected:
        raise RegistryError(f"{version.title} failed validation and can't be champion: {reason}", "refused")
    if version.state != State.validated:
        known = f" ({reason})" if Tag.reason in version.tags else ""
        sentence = f"{version.title} was never validated{known}; `langmill run {version.name}` does it."
        raise RegistryError(sentence, "undecided")


def _require_verdict(version: ModelVersion, verdict: Verdict | None, champion: int | None) -> Verdict:
    hint = "To promote it all the same, give a reason with --force."
    if Tag.rolled_back in version.tags:  # the verdict may be of before that
        raise RegistryError(f"{version.title} was rolled back: {version.tags[Tag.rolled_back]}. {hint}", "refused")
    if verdict is None:
        sentence = f"The gate was never asked about {version.title}; `langmill run` asks it. {hint}"
        raise RegistryError(sentence, "undecided")
    if verdict.outcome is Outcome.cannot_tell:
        raise RegistryError(f"The gate could not tell of {version.title}: {verdict.sentence} {hint}", "undecided")
    if not verdict.passed:
        raise RegistryError(f"The gate refused {version.title}: {verdict.sentence} {hint}", "refused")
    if verdict.champion != champion:
        raise RegistryError(
            f"The gate compared {version.title} with {verdict.against}, which is not the champion now; "
            f"`langmill run` compares it again. {hint}",
            "changed",
        )
    return verdict
