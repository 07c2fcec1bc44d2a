"""Atomic writes, digests, manifests and locks.

Every file is first written under a temporary name *in the same folder*, flushed to the disk, and then renamed;
`os.replace` is atomic on one filesystem only. A temporary file is locked while it is written, so that those of killed
processes can be recognised (`sweep`).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from langmill.errors import BusyError, IntegrityError, LangmillError, SpaceError
from langmill.workspace import Workspace

MANIFEST_NAME = "manifest.json"
_TEMPORARY = re.compile(r"\A\.(?P<name>.+)\.[a-z0-9_]{8}\.(?P<kind>tmp|old)")
_FULL_DISK = "database or disk is full|No space left on device"  # SQLite's words and the system's
_CURRENT_FOLDER, _RENAME_EXCHANGE = -100, 2  # AT_FDCWD and the flag, from Linux's headers


@contextlib.contextmanager
def explained_os_errors(path: Path) -> Iterator[None]:
    """Turn a full disk into SpaceError, and a missing permission to write `path` into LangmillError."""
    try:
        yield
    except OSError as error:
        if is_full_disk(error):
            raise SpaceError(full_disk_sentence(path)) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            sentence = f"{path} can't be written: {error.strerror}. Check its owner and mode."
            raise LangmillError(sentence, "refused") from error
        raise


def full_disk_sentence(path: object) -> str:
    """The message for a full disk that holds `path`."""
    return (
        f"No space is left on the disk that holds {path}. Nothing that was there before is lost; "
        "free some space and run the same command again."
    )


def causes(error: BaseException | None) -> list[BaseException]:
    """An error and those that it came from, the latest first."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def is_full_disk(error: BaseException | None) -> bool:
    """Whether a full disk or an exhausted quota is among an error's causes, whichever library or server tells it."""
    return any(
        getattr(cause, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or re.search(_FULL_DISK, str(cause))
        for cause in causes(error)
    )


@contextlib.contextmanager
def atomic_file(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a temporary file for writing that replaces `path` when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    encoding = None if "b" in mode else "utf-8"
    with explained_os_errors(path):
        descriptor, name = _locked_temporary(path, tempfile.mkstemp)
        try:
            with os.fdopen(descriptor, mode, encoding=encoding) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
                os.chmod(name, 0o644)
                os.replace(name, path)  # before the file is closed, and with it the lock on the name given up
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
            raise


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Make a temporary folder that replaces `path` when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with explained_os_errors(path):
        descriptor, name = _locked_temporary(path, _make_folder)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(0o755)
            _replace_folder(temporary, path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def temporary_folder(parent: Path | None = None) -> Iterator[Path]:
    """Make a folder that is removed when the block ends, or by the next `sweep` if the process was killed.

    Args:
        parent: Where to make it; by default in `.langmill/tmp/` of the workspace in the current folder, whose disk has
            room for models, or in the system's temporary folder where there is no writable workspace.

    Raises:
        SpaceError: No space is left for a folder.
    """
    parent = _temporary_home() if parent is None else parent
    with explained_os_errors(parent):
        parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = _locked_temporary(parent.absolute() / "langmill", _make_folder)
    try:
        yield Path(name)
    finally:
        shutil.rmtree(name, ignore_errors=True)
        os.close(descriptor)


def _temporary_home() -> Path:
    workspace = Workspace()
    return workspace.temporary if os.access(workspace.state, os.W_OK) else Path(tempfile.gettempdir())


def _make_folder(**place: Any) -> tuple[int, str]:
    name = tempfile.mkdtemp(**place)
    return os.open(name, os.O_RDONLY), name


def _locked_temporary(path: Path, make: Callable[..., tuple[int, str]], suffix: str = ".tmp") -> tuple[int, str]:
    """Make a temporary file or folder beside `path` with `make`, and lock it; return its descriptor and name."""
    while True:
        descriptor, name = make(dir=path.parent, prefix=f".{path.name}.", suffix=suffix)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.path.lexists(name):
            return descriptor, name
        os.close(descriptor)  # a sweep came between its making and its lock


def _replace_folder(temporary: Path, path: Path) -> None:
    """Rename a folder to `path`; where the system can exchange two, there is a complete folder at every moment."""
    if not path.exists():
        os.replace(temporary, path)
    elif _exchange(temporary, path):
        shutil.rmtree(temporary, ignore_errors=True)  # the old one
    else:
        descriptor, name = _locked_temporary(path, _make_folder, ".old")
        try:
            os.replace(path, Path(name) / path.name)
            try:
                os.replace(temporary, path)
            except BaseException:
                os.replace(Path(name) / path.name, path)
                raise
        finally:
            shutil.rmtree(name, ignore_errors=True)
            os.close(descriptor)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two paths in one step; False where the system or the filesystem can't."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    names = os.fsencode(one), os.fsencode(other)
    return bool(rename(_CURRENT_FOLDER, names[0], _CURRENT_FOLDER, names[1], _RENAME_EXCHANGE) == 0)


def sweep(folder: Path) -> None:
    """Remove the temporary files of killed processes in `folder`; those in use stay.

    A folder that was being replaced, where the system can't exchange two, gets its name back.
    """
    for path in sorted(folder.glob(".*")):
        found = _TEMPORARY.fullmatch(path.name)
        if found is None:
            continue
        with contextlib.suppress(OSError):  # gone meanwhile, held by somebody, or another user's
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                retired, home = path / found["name"], folder / found["name"]
                if found["kind"] == "old" and retired.exists() and not home.exists():
                    os.replace(retired, home)
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()
            finally:
                os.close(descriptor)


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """Give a file a second name where the file system has such, else copy it; the file must not be written to again."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_file(path, "w") as file:
        file.write(text)


def canonical_json(value: Any) -> str:
    """Encode JSON with sorted keys and no spaces: equal values give equal bytes. ValueError for NaN and infinity."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically: sorted keys, two-space indent, a final newline."""
    write_text(path, pretty_json(value))


def pretty_json(value: Any) -> str:
    """The text that `write_json` writes."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    """Read a JSON file; LangmillError where there is none, IntegrityError where it is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        sentence = f"{path} does not exist; make it with `langmill run` or `dvc repro`."
        raise LangmillError(sentence, "missing") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise IntegrityError(f"{path} is not valid JSON ({error}); delete it and make it again.") from error


def sha256_bytes(data: bytes) -> str:
    """SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(value: Any) -> str:
    """SHA-256 of a value's canonical JSON."""
    return sha256_bytes(canonical_json(value).encode())


def digest_files(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in `folder`, by relative POSIX path; manifest and byte code are excluded."""
    return {
        path.relative_to(folder).as_posix(): sha256_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST_NAME and "__pycache__" not in path.parts
    }


def write_manifest(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write `manifest.json`: the digest of every file in `folder` under `files`, and the given facts."""
    write_json(folder / MANIFEST_NAME, {**facts, "files": digest_files(folder)})


def read_manifest(folder: Path, *, verify: bool) -> dict[str, Any]:
    """Read `manifest.json`; with `verify`, check that the folder holds exactly the promised bytes.

    Raises IntegrityError where the manifest is missing or damaged, or a file is missing, surplus or different.
    """
    manifest = _read_manifest(folder)
    if verify:
        wrong = changed_files(folder)
        if wrong:
            raise IntegrityError(
                f"{folder} is damaged: {', '.join(wrong)} differ from {MANIFEST_NAME}. "
                "Remove the folder and its copy in DVC's cache, and make it again."
            )
    return manifest


def changed_files(folder: Path) -> list[str]:
    """Names of a folder's files that are missing, surplus or different, by its manifest. Raises as `read_manifest`."""
    promised = _read_manifest(folder)["files"]
    found = digest_files(folder)
    return sorted(name for name in {*found, *promised} if found.get(name) != promised.get(name))


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise IntegrityError(f"{folder} has no {MANIFEST_NAME}, so it is not a finished result; make it again.")
    manifest = read_json(path)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise IntegrityError(f"{path} does not list the folder's files; make the folder again.")
    return manifest


@contextlib.contextmanager
def exclusive_lock(path: Path, purpose: str, *, wait: bool = False) -> Iterator[None]:
    """Hold an advisory lock on the file `path`; the kernel releases it when the process ends, however it ends.

    The file is kept; it tells the next process who holds the lock, and for which purpose. Raises BusyError where
    another process holds it and `wait` is false.
    """
    with explained_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = path.open("a+", encoding="utf-8")
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise BusyError(f"{holder} is still at work here ({path}). Wait for it to end, or stop it.") from error
        file.truncate(0)
        with contextlib.suppress(OSError):  # on a full disk the lock holds all the same; only its holder is not named
            os.write(file.fileno(), f"{purpose} (process {os.getpid()})".encode())
        try:
            yield
        finally:
            file.truncate(0)
