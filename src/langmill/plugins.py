"""Plug-ins: classes that Langmill finds by a name in the settings, and the distributions that bring some of them.

Every kind of plug-in is one `Registry`; the distributions' code is part of what a model's provenance says.
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, EntryPoints, entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from langmill.config.core_yaml import as_written
from langmill.config.names import did_you_mean
from langmill.config.typed import Origin, typed
from langmill.errors import ConfigError, FieldError, LangmillError
from langmill.files import digest_files, digest_of, sha256_file

_PREFIX = "langmill."  # of the groups of entry points that are ours


class PlugInError(FieldError):
    """A plug-in is unknown or can't be used; `key` is the setting that names it."""


@dataclass
class NoOptions:
    """The options of a plug-in that has none."""


class HasOptions(Protocol):
    """What every plug-in's class says."""

    options_class: ClassVar[type[Any]]
    """The dataclass of its options, whose fields may have defaults."""


PlugInT = TypeVar("PlugInT", bound=HasOptions)
ClassT = TypeVar("ClassT", bound=type)


class Registry(Generic[PlugInT]):
    """The plug-ins of one kind, by name.

    A plug-in is a class with `@ARCHITECTURES.register("decoder")` over it. It stands in a file of the kind's package,
    or in a module of another distribution whose entry point in the kind's group has that name. Names are known without
    importing anything: Langmill's own by that very line, which is looked for in the text of the package's files. Only
    the plug-in that is asked for is imported.

    Args:
        kind: What they are, in the plural: the end of the group's name (`langmill.architectures`) and, in capitals, the
            name of the registry's variable.
        base: The class that each of them derives from.
        package: Where Langmill's own are.
        setting: The key that names one of them, as in `model.architecture`, beside their options; with NAME in it where
            each plug-in's name is a key, as in `gate.rules.NAME`.
    """

    def __init__(self, kind: str, base: type[Any], package: str, setting: str) -> None:
        self.group = _PREFIX + kind
        self._mark = f"@{kind.upper()}.register"
        self._base = base
        self._package = package
        self._setting = setting
        self._classes: dict[str, type[PlugInT]] = {}

    def register(self, name: str) -> Callable[[ClassT], ClassT]:
        """Class decorator: make a plug-in known under the name that settings use.

        Raises PlugInError where the class is none of this kind, or another one has the name.
        """

        def add(cls: ClassT) -> ClassT:
            if not issubclass(cls, self._base):
                raise PlugInError(
                    f"{_path(cls)} is registered as {self._called(name)}; derive it from {_path(self._base)}.",
                    self._key(name),
                    "wrong_type",
                )
            titles = {_path(self._classes.get(name, cls)), _path(cls)}  # one, where a module is imported again
            if len(titles) > 1:
                raise self._duplicate(name, titles)
            self._classes[name] = cls
            return cls

        return add

    def names(self) -> list[str]:
        """Every name that `find` takes, sorted."""
        return sorted({point.name for point in self._points()} | set(self._classes))

    def own_names(self) -> list[str]:
        """The names of Langmill's own, sorted: those that are there whatever else is installed."""
        return sorted(point.name for point in self._own)

    def find(self, name: str, where: str = "") -> type[PlugInT]:
        """The class of a name, imported if need be; `where` is what the name comes from, for the message.

        Raises PlugInError where there is none of this name or more than one, or its code can't be used.
        """
        points = [point for point in self._points() if point.name == name]
        if len(points) > 1:
            raise self._duplicate(name, map(_title, points))
        if name not in self._classes:
            if not points:
                raise PlugInError(
                    f"{where}{': ' if where else ''}{self._called(name)} is unknown; known are "
                    f"{', '.join(self.names())}.{did_you_mean(name, self.names())}",
                    self._key(name),
                    "unknown",
                )
            self._import(points[0])
        return self._classes[name]

    def options(
        self, name: str, values: Mapping[str, Any], where: str, at: str | None = None, origin: Origin | None = None
    ) -> Any:
        """A plug-in's options: plain values put onto its `options_class`.

        Args:
            name: The plug-in.
            values: Its options.
            where: What they come from, for the message.
            at: The key that holds them; None for `options` beside the plug-in's name.
            origin: As of `typed`.

        Raises:
            PlugInError: As `find`.
            ConfigError: An option is unknown, missing, of the wrong type or impossible.
        """
        at = f"{self._setting.partition('.')[0]}.options" if at is None else at
        return typed(self.find(name, where).options_class, values, where, at, origin)

    def _key(self, name: str) -> str:
        return self._setting.replace("NAME", name)

    def _called(self, name: str) -> str:
        """A plug-in in a sentence."""
        return self._key(name) if "NAME" in self._setting else f"{self._setting}: {as_written(name)}"

    def _points(self) -> list[EntryPoint]:
        return [*self._own, *_declared(tuple(sys.path)).select(group=self.group)]

    @functools.cached_property
    def _own(self) -> list[EntryPoint]:
        """Langmill's own, as if it declared them."""
        line = re.compile(rf'^{re.escape(self._mark)}\("(\w+)"\)$', re.MULTILINE)
        modules = (file for file in files(self._package).iterdir() if file.name.endswith(".py"))
        return [
            EntryPoint(name, f"{self._package}.{file.name.removesuffix('.py')}", self.group)
            for file in modules
            for name in line.findall(file.read_text(encoding="utf-8"))
        ]

    def _import(self, point: EntryPoint) -> None:
        try:
            point.load()
        except Exception as error:
            if point.dist is None or isinstance(error, LangmillError):
                raise
            raise PlugInError(
                f"{_title(point)} can't be imported ({type(error).__name__}: {error}); mend or uninstall it.",
                self._key(point.name),
                "not_importable",
            ) from error
        if point.name not in self._classes:
            raise PlugInError(
                f'{_title(point)} registers no {point.name}; put {self._mark}("{point.name}") over its class.',
                self._key(point.name),
                "not_registered",
            )

    def _duplicate(self, name: str, titles: Iterable[str]) -> PlugInError:
        return PlugInError(
            f"{self._called(name)} is brought by {' and '.join(sorted(titles))}; name one of them otherwise.",
            self._key(name),
            "duplicate",
        )


def _path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _title(point: EntryPoint) -> str:
    return f"{point.value}{f' of {point.dist.name}' if point.dist else ''}"


@dataclass(frozen=True)
class PlugIn:
    """A distribution that brings plug-ins."""

    name: str
    """The distribution's, as it was installed."""
    version: str
    packages: tuple[Path, ...]
    """Its importable top-level folders and files, wherever they lie (an editable one lies at its author's)."""
    requires: tuple[str, ...]
    """What it says it needs, as in `numpy>=2; extra == "fast"`."""
    entry_points: tuple[EntryPoint, ...]
    """Those in groups of ours."""

    @property
    def digest(self) -> str:
        """SHA-256 over the version and every file of the packages, byte code left out."""
        parts: dict[str, str] = {}
        for path in self.packages:
            part = digest_of(digest_files(path)) if path.is_dir() else sha256_file(path)
            parts[path.name] = digest_of([parts[path.name], part]) if path.name in parts else part
        return digest_of({"version": self.version, "packages": parts})


@functools.lru_cache(maxsize=1)
def _declared(path: tuple[str, ...]) -> EntryPoints:
    """Those of our groups along Python's path, read once: a look through 250 distributions takes 40 ms."""
    found = entry_points()
    ours = sorted(group for group in found.groups if group.startswith(_PREFIX))
    return EntryPoints(point for group in ours for point in found.select(group=group))


def find_plugins(names: Iterable[tuple[str, str]]) -> list[PlugIn]:
    """The distributions behind some entry points, by name; what Langmill has itself is left out.

    Args:
        names: Group and name of each, as in `("langmill.tasks", "headline")`.

    Raises:
        ConfigError: The code of one can't be found.
    """
    found: dict[str, PlugIn] = {}
    for group, name in names:
        for point in _declared(tuple(sys.path)).select(group=group, name=name):
            assert point.dist is not None  # importlib knows whose they are
            if point.dist.name not in found:
                found[point.dist.name] = _plugin(point.dist)
    return [found[name] for name in sorted(found)]


def _plugin(distribution: Distribution) -> PlugIn:
    points = tuple(point for point in distribution.entry_points if point.group.startswith(_PREFIX))
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
    raise ConfigError(f"The plug-in {distribution.name} brings no code for {top}; install it again.", "missing")


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
