"""Code of other distributions that Langmill finds by entry points: architectures, tasks and formats of raw files."""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, EntryPoints, entry_points
from pathlib import Path

from langmill.errors import ConfigError
from langmill.files import digest_files, digest_of, sha256_file

GROUPS = ("langmill.architectures", "langmill.tasks", "langmill.formats")


@dataclass(frozen=True)
class PlugIn:
    """A distribution that brings an architecture, a task or a format."""

    name: str
    """The distribution's, as it was installed."""
    version: str
    packages: tuple[Path, ...]
    """Its importable top-level folders and files, wherever they lie (an editable one lies at its author's)."""
    requires: tuple[str, ...]
    """What it says it needs, as in `numpy>=2; extra == "fast"`."""
    entry_points: tuple[EntryPoint, ...]
    """Those of `GROUPS`."""

    @property
    def digest(self) -> str:
        """SHA-256 over the version and every file of the packages, byte code left out."""
        parts = {
            path.name: digest_of(digest_files(path)) if path.is_dir() else sha256_file(path) for path in self.packages
        }
        return digest_of({"version": self.version, "packages": parts})


def entry_points_of(group: str) -> EntryPoints:
    """What other distributions declare in one of `GROUPS`."""
    return _declared(tuple(sys.path)).select(group=group)


@functools.lru_cache(maxsize=1)
def _declared(path: tuple[str, ...]) -> EntryPoints:
    """All of `GROUPS` along Python's path, read once: a look through 250 distributions takes 40 ms."""
    return EntryPoints(point for group in GROUPS for point in entry_points(group=group))


def find_plugins(names: Iterable[tuple[str, str]]) -> list[PlugIn]:
    """The distributions behind some entry points, by name; what Langmill has itself is left out.

    Args:
        names: Group and name of each, as in `("langmill.tasks", "headline")`.

    Raises:
        ConfigError: The code of one can't be found.
    """
    found: dict[str, PlugIn] = {}
    for group, name in names:
        for point in entry_points_of(group).select(name=name):
            assert point.dist is not None  # importlib knows whose they are
            if point.dist.name not in found:
                found[point.dist.name] = _plugin(point.dist)
    return [found[name] for name in sorted(found)]


def _plugin(distribution: Distribution) -> PlugIn:
    points = tuple(point for point in distribution.entry_points if point.group in GROUPS)
    tops = {point.module.partition(".")[0] for point in points}
    tops |= set((distribution.read_text("top_level.txt") or "").split())
    packages = tuple(_package(distribution, top) for top in sorted(tops))
    return PlugIn(distribution.name, distribution.version, packages, tuple(distribution.requires or ()), points)


def _package(distribution: Distribution, top: str) -> Path:
    spec = importlib.util.find_spec(top)
    if spec is not None and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    if spec is not None and spec.origin is not None:
        return Path(spec.origin)
    raise ConfigError(f"The plug-in {distribution.name} brings no code for {top}; install it again.")
