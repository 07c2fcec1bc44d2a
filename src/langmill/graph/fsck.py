"""Compare every byte that DVC keeps with the digest that names it: the cache, the outputs in their places, the remote.

DVC itself trusts what it has written: an object whose bytes have changed since is checked out with exit code 0, and
`dvc status` says that all is up to date.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from langmill.errors import GraphError, IntegrityError, LangmillError, TransientError
from langmill.files import MANIFEST_NAME, changed_files
from langmill.graph.dvc_errors import explained_dvc_errors, one_line
from langmill.graph.outputs import Output, Outputs, mend_remote

_CHUNK = 1 << 20
_DIRECTORY = ".dir"


@dataclass(frozen=True)
class Damage:
    """Something that is not what its digest says."""

    what: str
    """Its path, or what it is called elsewhere."""
    why: str
    """A phrase: `its bytes are not those of its name`."""
    mend: str
    """A sentence: what to do."""


@dataclass(frozen=True)
class Piece:
    """Something to check."""

    num_bytes: int
    check: Callable[[Callable[[int], object]], list[Damage]]
    """Reads it, calls its argument with the bytes read since the last call, and returns what is wrong."""


def cache_pieces(outputs: Outputs) -> Iterator[Piece]:
    """Every object of the cache."""
    used = _names(outputs)
    for oid, path in outputs.objects():

        def check(on_bytes: Callable[[int], object], oid: str = oid, path: Path = path) -> list[Damage]:
            if _md5_of(path, on_bytes) == oid.removesuffix(_DIRECTORY):
                return []
            of = f" (of {used[oid][1]})" if oid in used else ""
            mend = "Delete it; `langmill pull` brings it, or `dvc repro --force` of its stage makes it again."
            return [Damage(f"{path}{of}", "its bytes are not those of its name", mend)]

        yield Piece(path.stat().st_size, check)


def output_pieces(outputs: Outputs) -> Iterator[Piece]:
    """Every file that dvc.lock names, in its place."""
    noted = outputs.noted()
    for output in noted.values():
        place = outputs.root / output.path
        if not place.exists():
            continue  # of another machine: `langmill status` says that it has not run here
        try:
            files = outputs.files(output, fetch=False)
        except IntegrityError as error:  # the list of its files
            yield _found(Damage(output.path, str(error).partition(". ")[0], str(error).partition(". ")[2]))
            continue
        except GraphError:  # the cache has been tidied up since: what the folder says of itself has to do
            yield Piece(_size(place), _by_manifest(output, place))
            continue
        if output.is_folder:
            surplus = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()} - files.keys()
            for name in sorted(surplus):
                yield _found(
                    Damage(f"{output.path}/{name}", f"dvc.lock has no such file of {output.stage}", "Delete it.")
                )
        for name, (md5, _) in sorted(files.items()):
            path = place / name if name else place
            yield Piece(path.stat().st_size if path.is_file() else 0, _checking(output, path, md5))


def _by_manifest(output: Output, place: Path) -> Callable[[Callable[[int], object]], list[Damage]]:
    def check(on_bytes: Callable[[int], object]) -> list[Damage]:
        on_bytes(_size(place))
        if not (place / MANIFEST_NAME).is_file():
            return []  # nothing says what it was
        mend = f"Delete {output.path}; `langmill pull` brings it, or `dvc repro` of its stage makes it again."
        return [
            Damage(f"{output.path}/{name}", f"it is not what {MANIFEST_NAME} beside it promises", mend)
            for name in changed_files(place)
        ]

    return check


def _size(place: Path) -> int:
    return sum(path.stat().st_size for path in place.rglob("*") if path.is_file())


def _found(damage: Damage) -> Piece:
    """What is known to be damaged without a look into it."""
    return Piece(0, lambda _: [damage])


def _checking(output: Output, path: Path, md5: str) -> Callable[[Callable[[int], object]], list[Damage]]:
    def check(on_bytes: Callable[[int], object]) -> list[Damage]:
        mend = f"Delete {output.path}; `dvc checkout {output.path}` puts it back from the cache, if that is whole."
        if not path.is_file():
            return [Damage(str(path), f"it is missing, but {output.stage} made it", mend)]
        same = _md5_of(path, on_bytes) == md5
        return [] if same else [Damage(str(path), f"it is not what {output.stage} made, by dvc.lock", mend)]

    return check


def remote_pieces(outputs: Outputs) -> Iterator[Piece]:
    """Every object of the default remote that dvc.lock names. It is read as a whole: mind what that costs.

    Raises GraphError where there is no remote.
    """
    if not outputs.repo.config["core"].get("remote"):
        raise GraphError("DVC has no remote here; `langmill remote ADDRESS` sets one.", "missing")
    with explained_dvc_errors():
        remote: Any = outputs.repo.cloud.get_remote_odb()
    for oid, (output, name) in sorted(_names(outputs).items()):
        path = remote.oid_to_path(oid)
        try:
            size = int(remote.fs.size(path) or 0)
        except FileNotFoundError:
            continue  # not pushed; `dvc status --cloud` lists those
        except Exception as error:
            raise TransientError(f"DVC's remote does not answer: {one_line(error)}.", "unreachable") from error

        def check(
            on_bytes: Callable[[int], object], oid: str = oid, path: str = path, name: str = name, of: Output = output
        ) -> list[Damage]:
            try:
                with remote.fs.open(path, "rb") as file:
                    same = _md5(file, on_bytes) == oid.removesuffix(_DIRECTORY)
            except Exception as error:
                raise TransientError(f"DVC's remote does not answer: {one_line(error)}.", "unreachable") from error
            mend = mend_remote(remote, of, oid)
            return (
                []
                if same
                else [Damage(f"{path} in the remote (of {name})", "its bytes are not those of its name", mend)]
            )

        yield Piece(size, check)


def advice(outputs: Outputs) -> str:
    """What to do where DVC does not check what it brings from the default remote; nothing where it does."""
    name = outputs.repo.config["core"].get("remote")
    settings = outputs.repo.config["remote"].get(name, {}) if name else {}
    if not name or settings.get("verify"):
        return ""
    return (
        f"DVC does not check what it pulls from the remote {name}; `dvc remote modify {name} verify true` has it do so."
    )


def _names(outputs: Outputs) -> dict[str, tuple[Output, str]]:
    """The output and the path behind each object that dvc.lock names, as far as the cache has the lists."""
    found: dict[str, tuple[Output, str]] = {}
    for output in outputs.noted().values():
        found.setdefault(output.oid, (output, output.path))
        try:
            files = outputs.files(output, fetch=False)
        except LangmillError:
            continue
        for name, (md5, _) in files.items():
            found.setdefault(md5, (output, f"{output.path}/{name}" if name else output.path))
    return found


def _md5_of(path: Path, on_bytes: Callable[[int], object]) -> str:
    with path.open("rb") as file:
        return _md5(file, on_bytes)


def _md5(file: IO[bytes], on_bytes: Callable[[int], object]) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
        on_bytes(len(chunk))
    return digest.hexdigest()
