"""What is in service, at a glance."""

from __future__ import annotations

from dataclasses import dataclass

from langmill.registry.store import ModelRegistry
from langmill.registry.versions import CHALLENGER, CHAMPION, PREVIOUS, ModelVersion, State, Tag


@dataclass(frozen=True)
class ModelStatus:
    """Where a registered model stands."""

    name: str
    champion: ModelVersion | None
    challenger: ModelVersion | None
    previous: ModelVersion | None
    notes: tuple[str, ...]
    """What a person should know: a move that was cut short, an alias moved by someone else, a damaged ledger."""


def status(tracking_uri: str) -> list[ModelStatus]:
    """Every registered model that an alias points into, or ought to, by name."""
    registry = ModelRegistry(tracking_uri)
    complaints = registry.complaints()
    found: dict[str, dict[str, ModelVersion]] = {name: {} for name in complaints}
    for version in registry.overview():
        for alias in version.aliases:
            found.setdefault(version.name, {})[alias] = version
    return [
        ModelStatus(
            name,
            aliases.get(CHAMPION),
            aliases.get(CHALLENGER),
            aliases.get(PREVIOUS),
            tuple(_notes(registry, name, aliases.get(CHAMPION), complaints.get(name))),
        )
        for name, aliases in sorted(found.items())
    ]


def _notes(registry: ModelRegistry, name: str, champion: ModelVersion | None, complaint: str | None) -> list[str]:
    notes = [complaint] if complaint is not None else []
    entry = registry.ledger.unfinished(name)
    if entry is not None:
        notes.append(
            f"The {entry.action} to version {entry.target} was cut short; the next `langmill run`, promote or rollback "
            "puts it right."
        )
    if champion is not None and champion.state == State.rejected:
        notes.append(f"The champion failed validation: {champion.tags.get(Tag.reason, '')}")
    return notes


def worth(version: ModelVersion | None) -> str:
    """A version with its deciding metric and interval, as `3  accuracy 0.912 [0.901, 0.921]`; a dash for none."""
    if version is None:
        return "-"
    if version.decides is None:
        return str(version.version)
    metric, estimate = version.decides
    judged = version.tags.get(Tag.judged)
    return f"{version.version}  {metric} {estimate.short}" + (f" on {judged} documents" if judged else "")


def baseline(version: ModelVersion | None, tag: str) -> str:
    """The baseline that a version was measured against (`Tag.trivial`, `Tag.strong`), as `unigram 2.7`.

    A dash for none, and for a version that is older than these tags.
    """
    name, _, value = (version.tags.get(tag, "") if version is not None else "").rpartition(" ")
    return f"{name} {float(value):.4g}" if name else "-"
