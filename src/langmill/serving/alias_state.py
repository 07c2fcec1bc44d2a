"""How it stands with one model: the version in service, the version that its alias names, and the registry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

RETRY_NAME = "retry"
"""The file in the folder of cached versions that `langmill serve --retry` touches."""


@dataclass(frozen=True)
class RegisteredVersion:
    """A version as the registry describes it. Equal ones are the same model, which is not loaded again."""

    version: int
    provenance: str
    digests: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of the files that make it this version, by name: its weights, and its generation config, which changes
    what it answers though its provenance stays. Without those that an older version does not say."""
    metrics: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """How it was judged, as `/v1/models` shows it."""
    description: str = field(default="", compare=False)
    """What it is for, in a sentence."""

    def is_of(self, manifest: Mapping[str, Any]) -> bool:
        """Whether a model folder with this manifest holds it."""
        return manifest.get("provenance") == self.provenance and self.digests.items() <= manifest["files"].items()


@dataclass
class AliasState:
    """How it stands with one model, for `/ready`."""

    loaded: RegisteredVersion | None = None
    """The version in service."""
    source: str | None = None
    """`registry`, or `cache` while the registry has not been heard of since the start."""
    refused: RegisteredVersion | None = None
    """The version that the alias names, where it is not fit for service."""
    refused_reason: str | None = None
    trouble: str | None = None
    """What the last look at the registry complained of."""
    coming: int | None = None
    """The version that is being fetched, loaded and made to answer."""

    @property
    def why_not(self) -> str:
        """Why no version is in service, in a sentence."""
        if self.coming is not None:
            return f"Version {self.coming} is being loaded."
        return self.refused_reason or self.trouble or "The registry is still to be asked."

    def describe(self) -> dict[str, Any]:
        """The state as `/ready` shows it; fields without a value are left out."""
        version = self.loaded and self.loaded.version
        refused = self.refused and {"version": self.refused.version, "reason": self.refused_reason}
        found = {
            "version": version, "source": self.source, "coming": self.coming, "refused": refused,
            "registry": self.trouble,
        }  # fmt: skip
        return {key: value for key, value in found.items() if value is not None}
