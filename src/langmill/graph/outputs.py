"""What dvc.lock says of each output, now or at a Git revision, and its files in DVC's cache."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from langmill.errors import GraphError, IntegrityError, TransientError
from langmill.files import explained_os_errors
from langmill.graph.dvc_errors import explained_dvc_errors, one_line, silence_dvc_log, watched_dvc_log

_DIRECTORY = ".dir"  # the ending of a folder's object, which lists the objects of its files


@dataclass(frozen=True)
class Output:
    """What dvc.lock notes of one output."""

    path: str
    """Relative to the workspace."""
    stage: str
    """The address of the stage that made it."""
    oid: str
    """The MD5 of its bytes; of a folder that of the list of its files, with `.dir` at its end."""

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.oid.endswith(_DIRECTORY)


def mend_remote(remote: Any, output: Output, oid: str) -> str:
    """What to do about a damaged object of a remote.

    Where a remote has the list of a folder, DVC believes that it has all of the folder, and pushes nothing of it again.

    Args:
        remote: DVC's object of it.
        output: The output that the object belongs to.
        oid: The object.
    """
    both = output.is_folder and oid != output.oid
    listed = f" together with {remote.oid_to_path(output.oid)}, the list of its folder" if both else ""
    return f"Delete it there{listed}; `dvc push` sends {'both' if both else 'it'} again from where it was made."


class Outputs:
    """The outputs of a workspace, and DVC's cache of them."""

    def __init__(self, root: Path = Path()) -> None:
        """Open a workspace. Raises GraphError where there is none."""
        silence_dvc_log()
        with explained_dvc_errors():
            from dvc.repo import Repo

            self.repo: Any = Repo(str(root))
        self.root = Path(root)

    @property
    def cache(self) -> Path:
        """The folder of the cache's objects."""
        return Path(self.repo.cache.local.path)

    def noted(self, revision: str | None = None) -> dict[str, Output]:
        """What dvc.lock says, by path.

        Args:
            revision: A Git revision; None for the file as it lies in the workspace.

        Raises:
            GraphError: There is no such revision, no dvc.lock in it, or it can't be read.
        """
        try:
            content = yaml.load(self._lock(revision), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - a safe one
            stages = content["stages"].items()
            return {
                out["path"]: Output(out["path"], address, str(out["md5"]))
                for address, stage in stages
                for out in stage.get("outs", [])
                if "md5" in out
            }
        except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
            place = "dvc.lock" if revision is None else f"dvc.lock at {revision}"
            raise GraphError(f"{place} is not what DVC writes ({one_line(error)}).", "unreadable") from error

    def _lock(self, revision: str | None) -> bytes:
        name = "dvc.lock"
        if revision is None:
            path = self.root / name
            if not path.is_file():
                raise GraphError("There is no dvc.lock here: no stage has run yet.", "missing")
            return path.read_bytes()
        with explained_dvc_errors():
            from dvc.scm import NoSCM, RevError, resolve_rev

            scm = self.repo.scm
            if isinstance(scm, NoSCM):
                raise GraphError("This workspace is no Git clone, so it has no earlier revisions.", "missing")
            try:
                found = resolve_rev(scm, revision)
                # The workspace may be a folder of the clone.
                within = PurePosixPath(Path(self.repo.root_dir).relative_to(scm.root_dir).as_posix())
                return bytes(scm.get_fs(found).cat_file(str(within / name)))
            except RevError as error:
                raise GraphError(f"Git knows no revision {revision!r}.", "unknown") from error
            except FileNotFoundError as error:
                raise GraphError(f"There is no dvc.lock at the revision {revision}.", "missing") from error

    def files(self, output: Output, *, fetch: bool = True) -> dict[str, tuple[str, Path]]:
        """The MD5 and the object in the cache of every file of an output, by its path in it ("" for a single file).

        Args:
            output: What dvc.lock notes of it.
            fetch: Whether what the cache lacks is brought from the default remote.

        Raises:
            GraphError: Neither the cache nor a remote has it.
            IntegrityError: A folder's object is damaged.
            TransientError: The remote did not answer.
        """
        found = self._listed(output)
        if fetch and (found is None or any(not path.is_file() for _, path in found.values())):
            self._fetch(output)
            found = self._listed(output)
        if found is None or (fetch and any(not path.is_file() for _, path in found.values())):
            raise GraphError(
                f"DVC's cache lacks {output.path} as {output.oid.removesuffix(_DIRECTORY)}, which dvc.lock noted, and "
                "so does the remote, if there is one: `dvc push` sends it from where it was made.",
                "missing",
            )
        return found

    def link(self, output: Output, into: Path, *, fetch: bool = True) -> Path:
        """Make a folder of links to an output's files in the cache; returns it.

        Args:
            output: A folder that dvc.lock notes or noted.
            into: The new folder.
            fetch: Whether what the cache lacks is brought from the default remote.

        Raises:
            GraphError, IntegrityError, TransientError: As of `files`.
        """
        files = self.files(output, fetch=fetch)
        if any(not file.is_file() for _, file in files.values()):
            raise GraphError(f"DVC's cache lacks files of {output.path} as {output.oid}.", "missing")
        into.mkdir()
        for name, (_, file) in files.items():
            place = into / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(file.absolute())
        return into

    def history(self, most: int = 20) -> list[tuple[str, str]]:
        """The last commits that changed dvc.lock, the newest first, with their days; none outside a Git clone."""
        try:
            found = subprocess.run(
                ["git", "log", f"-{most}", "--format=%H %cs", "--", "dvc.lock"],
                cwd=self.root, capture_output=True, text=True, timeout=30, check=True,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError):  # no Git, or no commit yet
            return []
        return [(commit, day) for commit, _, day in (line.partition(" ") for line in found.stdout.splitlines())]

    def object_path(self, oid: str) -> Path:
        """Where the cache has an object."""
        return Path(self.repo.cache.local.oid_to_path(oid))

    def _listed(self, output: Output) -> dict[str, tuple[str, Path]] | None:
        path = self.object_path(output.oid)
        if not output.is_folder:
            return {"": (output.oid, path)}
        if not path.is_file():
            return None
        try:
            entries = json.loads(path.read_bytes())
            return {each["relpath"]: (each["md5"], self.object_path(each["md5"])) for each in entries}
        except (ValueError, KeyError, TypeError) as error:
            raise IntegrityError(
                f"DVC's cache is damaged: {path}, the list of {output.path}, can't be read. Delete it; `langmill pull` "
                "brings it, or `langmill run` makes it again."
            ) from error

    def _fetch(self, output: Output) -> None:
        """Bring an output's objects into the cache, each checked against its name, if there is a default remote."""
        if not self.repo.config["core"].get("remote"):
            return
        self._bring(output, [output.oid])
        if listed := self._listed(output):
            self._bring(output, [oid for oid, path in listed.values() if not path.is_file()])

    def _bring(self, output: Output, oids: list[str]) -> None:
        with explained_dvc_errors(), watched_dvc_log() as log, explained_os_errors(self.cache):
            remote, cache = self.repo.cloud.get_remote_odb(), self.repo.cache.local
            try:
                for oid in oids:
                    cache.add(remote.oid_to_path(oid), remote.fs, oid, verify=True)
                    if not self.object_path(oid).is_file():  # it was fetched, found damaged, and taken out again
                        raise IntegrityError(
                            f"DVC's remote is damaged: {remote.oid_to_path(oid)}, of {output.path}, is not what its "
                            f"name says. {mend_remote(remote, output, oid)}"
                        )
            except FileNotFoundError:
                return  # the caller says what is missing
            except IntegrityError:
                raise
            except Exception as error:
                sentence = f"DVC's remote did not deliver {output.path}: {log.reason or one_line(error)}."
                raise TransientError(sentence, "failed") from error

    def objects(self) -> Iterator[tuple[str, Path]]:
        """Every object of the cache: its name, which is the MD5 of its bytes, and its file."""
        for folder in sorted(self.cache.glob("[0-9a-f][0-9a-f]")):
            for path in sorted(folder.iterdir()):
                if path.is_file() and not path.name.endswith(".tmp"):
                    yield folder.name + path.name, path
