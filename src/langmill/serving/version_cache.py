"""Versions on this machine: fetched from the registry, verified, loaded, warmed up, and kept for the next start.

The cache is `<folder>/<name>/<version>/`, a model folder as its manifest describes it. `<folder>/<name>/champion.json`
names the last version that went into service.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from langmill.errors import IntegrityError, LangmillError, SpaceError
from langmill.files import exclusive_lock, read_json, read_manifest, write_json
from langmill.serving.alias_state import RETRY_NAME, RegisteredVersion
from langmill.serving.jobs import LoadedVersion
from langmill.serving.warm_up import warm_up
from langmill.tasks.loading import LoadedModel

_KEPT = 2
"""Versions kept in the cache: the one in service and the one before."""
_DOWNLOADS = 2
"""A copy damaged on the way is fetched once more before the version is blamed."""


class UnfitError(Exception):
    """The version itself is to blame."""


class Shelf(Protocol):
    """Where versions are fetched from: a part of `langmill.serving.source.ChampionSource`."""

    def download(self, name: str, version: int, into: Path) -> Path:
        """Fill `into` with the version's model folder, verified."""


class Loader(Protocol):
    """What makes a version answer."""

    def __call__(self, name: str, version: int, folder: Path) -> LoadedVersion:
        """Load a verified folder and let it answer once."""


def own_loader(load: Callable[[Path], LoadedModel]) -> Loader:
    """Load into this process, for its engine."""

    def loaded(name: str, version: int, folder: Path) -> LoadedVersion:
        model = load(folder)
        made = LoadedVersion(name, version, model, model.tokenizer.longest_token)
        warm_up(made)
        return made

    return loaded


class VersionCache:
    """The versions that a server has on its disk; two servers in one workspace share it.

    Args:
        folder: Where they are.
        load: What makes one answer.
    """

    def __init__(self, folder: Path, load: Loader) -> None:
        self.folder = folder
        self._load = load

    def fetched(self, shelf: Shelf, name: str, wanted: RegisteredVersion) -> LoadedVersion:
        """A version that answers, downloaded unless it is here and whole.

        Raises:
            UnfitError: The version is to blame: damaged, does not load, answers nonsense.
            Exception: The disk or the registry is; the next try may succeed.
        """
        with self._locked(name):
            return self._loaded(name, wanted.version, self._folder(shelf, name, wanted))

    def last(self, name: str) -> tuple[LoadedVersion, RegisteredVersion]:
        """The version that went into service last, if its bytes are whole. Raises whatever is wrong with it."""
        kept = RegisteredVersion(**read_json(self.folder / name / "champion.json"))
        folder = self.folder / name / str(kept.version)
        with self._locked(name):
            if not kept.is_of(read_manifest(folder, verify=True)):
                raise IntegrityError(f"{folder} is not the version that it is kept for.")
            return self._loaded(name, kept.version, folder), kept

    def note(self, name: str, registered: RegisteredVersion, beside: int | None) -> None:
        """Note what is in service, and delete all but the newest others from the disk, never the one `beside` it."""
        with contextlib.suppress(OSError):
            write_json(self.folder / name / "champion.json", dataclasses.asdict(registered))
            with self._locked(name):
                folders = (path for path in (self.folder / name).iterdir() if path.is_dir() and path.name.isdigit())
                kept = {str(each) for each in (registered.version, beside) if each is not None}
                others = [path for path in folders if path.name not in kept]
                newest_first = sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)
                for path in newest_first[max(0, _KEPT - len(kept)) :]:
                    shutil.rmtree(path, ignore_errors=True)

    def retry_asked(self) -> float:
        """When a person last asked to try refused versions again: a file's time; 0 if never."""
        try:
            return (self.folder / RETRY_NAME).stat().st_mtime
        except OSError:
            return 0.0

    def _folder(self, shelf: Shelf, name: str, wanted: RegisteredVersion) -> Path:
        folder = self.folder / name / str(wanted.version)
        if folder.is_dir():
            with contextlib.suppress(LangmillError):
                if wanted.is_of(read_manifest(folder, verify=True)):
                    return folder
            shutil.rmtree(folder, ignore_errors=True)
        for attempt in range(1, _DOWNLOADS + 1):
            try:
                shelf.download(name, wanted.version, folder)
                if not wanted.is_of(read_manifest(folder, verify=False)):
                    raise IntegrityError("Its files are not those that were registered.")
                break
            except IntegrityError as error:
                shutil.rmtree(folder, ignore_errors=True)
                if attempt == _DOWNLOADS:
                    raise UnfitError(str(error)) from error
        return folder

    def _loaded(self, name: str, version: int, folder: Path) -> LoadedVersion:
        try:
            return self._load(name, version, folder)
        except (MemoryError, SpaceError):
            raise
        except Exception as error:
            raise UnfitError(str(error) or type(error).__name__) from error

    def _locked(self, name: str) -> contextlib.AbstractContextManager[None]:
        return exclusive_lock(self.folder / f"{name}.lock", "A server", wait=True)
