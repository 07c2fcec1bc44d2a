"""How it stands with one model: the version in service, the version that its alias names, and the registry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass
class AliasState:
    """How it stands with one model, for `/ready`."""

    version: int | None = None
    """The version in service."""
    provenance: str | None = None
    source: str | None = None
    """`registry`, or `cache` while the registry has not been heard of since the start."""
    refused_version: int | None = None
    refused_provenance: str | None = None
    refused_reason: str | None = None
    """Why the version that the alias names is not the one in service."""
    trouble: str | None = None
    """What the last look at the registry complained of."""

    def describe(self) -> dict[str, Any]:
        """The state as `/ready` shows it; fields without a value are left out."""
        refused = {"version": self.refused_version, "reason": self.refused_reason} if self.refused_reason else None
        found = {"version": self.version, "source": self.source, "refused": refused, "registry": self.trouble}
        return {key: value for key, value in found.items() if value is not None}
