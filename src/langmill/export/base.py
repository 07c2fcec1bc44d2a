"""What a format of export offers, and how a registered version gets there.

A format is one file: an `Exporter`, and `EXPORTERS.register` over it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from langmill.config.names import nearest
from langmill.errors import LangmillError, RegistryError
from langmill.files import atomic_folder, temporary_folder
from langmill.plugins import NoOptions, Registry
from langmill.registry.store import ModelRegistry
from langmill.registry.versions import ModelVersion


@dataclass(frozen=True)
class VerifiedVersion:
    """A registered version and its files, which are what its manifest promises."""

    version: ModelVersion
    description: str
    """What it is for, as its recipe says."""
    folder: Path
    """The model folder."""


class Exporter(ABC):
    """Writes a version in one format."""

    options_class: ClassVar[type[Any]] = NoOptions

    @abstractmethod
    def write(self, model: VerifiedVersion, into: Path) -> None:
        """Write a version into an empty folder. Raises ModelError where the format has no place for it."""


EXPORTERS: Registry[Exporter] = Registry("exporters", Exporter, "langmill.export", "--format")


def export(registry: ModelRegistry, name: str, which: int | str, format_name: str, to: Path) -> ModelVersion:
    """Write a registered version, by its number or an alias, into a folder of its own, whole or not at all.

    Raises:
        LangmillError: The folder exists.
        PlugInError: The format is unknown.
        RegistryError: There is no such version, or its files are gone.
        IntegrityError: Its files are not those that were registered.
        ModelError: The format has no place for such a model.
        SpaceError: The disk is full.
    """
    exporter = EXPORTERS.find(format_name)()
    if to.exists() or to.is_symlink():
        raise LangmillError(f"{to} exists; name a folder that does not with --to.", "duplicate")
    version = _find(registry, name, which)
    with temporary_folder() as temporary, atomic_folder(to) as into:
        folder = registry.download(name, version.version, temporary / "model")
        exporter.write(VerifiedVersion(version, version.description, folder), into)
    return version


def _find(registry: ModelRegistry, name: str, which: int | str) -> ModelVersion:
    numbers = registry.numbers()
    if name not in numbers:
        others = nearest(name, numbers, f"there are: {', '.join(sorted(numbers)) or 'none'}.")
        raise RegistryError(f"There is no registered model {name!r}; {others}", "unknown")
    version = registry.version(name, which) if isinstance(which, int) else registry.aliased(name, which)
    if version is None:
        raise RegistryError(f"{name} has no {which}; `langmill status` lists its aliases and versions.", "missing")
    return version
