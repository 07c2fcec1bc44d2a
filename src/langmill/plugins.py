"""Code of other distributions that Langmill finds by entry points: architectures, tasks and formats of raw files."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import json
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
        parts: dict[str, str] = {}
        for path in self.packages:
            part = digest_of(digest_files(path)) if path.is_dir() else sha256_file(path)
            parts[path.name] = digest_of([parts[path.name], part]) if path.name in parts else part
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
    packages = [path for top in sorted(tops) for path in _found(distribution, top)]
    packages += [path for path in _recorded(distribution) if path.name.partition(".")[0] not in tops]
    packages.sort(key=lambda path: path.name)  # the parts of a namespace stay in the order of Python's path
    requires = tuple(distribution.requires or ())
    return PlugIn(distribution.name, distribution.version, tuple(packages), requires, points)


def _found(distribution: Distribution, top: str) -> list[Path]:
    """The file or folder that Python imports by a name; a namespace package has several."""
    spec = importlib.util.find_spec(top)
    if spec is not None and spec.submodule_search_locations:
        return [Path(location) for location in spec.submodule_search_locations]
    if spec is not None and spec.origin is not None:
        return [Path(spec.origin)]
    raise ConfigError(f"The plug-in {distribution.name} brings no code for {top}; install it again.")


def _recorded(distribution: Distribution) -> list[Path]:
    """The top-level packages and modules of a distribution's list of files, which every installer writes.

    An editable one's list names none of its code, only what leads to it.
    """
    origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    if distribution.read_text("RECORD") is None or origin.get("dir_info", {}).get("editable"):
        return []
    tops = {file.parts[0] for file in distribution.files or () if inspect.getmodulename(file.name) is not None}
    found = [Path(str(distribution.locate_file(top))) for top in tops if _is_importable(top)]
    return [path for path in found if path.exists()]  # Python 3.11 lists what was deleted, later ones don't


def _is_importable(top: str) -> bool:
    """Whether a first part of a path is code's: no `..`, `x.dist-info`, `x.data` or `__pycache__`."""
    name = inspect.getmodulename(top) or top
    return name.isidentifier() and name != "__pycache__"
