"""Files at addresses, through fsspec: HTTP(S), S3, Google Cloud Storage, the Hugging Face hub, a path, memory."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Annotated, Any
from urllib.parse import unquote, urlsplit

from langmill.config.constraints import Allowed, require
from langmill.config.sections import Source
from langmill.config.sections.sources import Sha256
from langmill.data.formats.base import Format
from langmill.data.rows import portable
from langmill.data.sources.base import SOURCES, CorpusSource, Fingerprint, is_same
from langmill.data.sources.folder import kind_of
from langmill.data.sources.kept import bring, keep, kept
from langmill.data.sources.local import write
from langmill.errors import LangmillError, SourceError, SourceUnreachableError, without_passwords
from langmill.progress import track

logger = logging.getLogger(__name__)

_EXTRAS = {"s3": "s3", "gs": "gcs", "gcs": "gcs"}
"""The extra that brings what reads an address, by its scheme."""
_SCHEMES = ("file", "gcs", "gs", "hf", "http", "https", "memory", "s3")
_VERSIONS = (
    "md5Hash", "crc32c", "Content-MD5", "blob_id", "ETag", "etag", "VersionId", "Last-Modified", "LastModified",
    "mtime", "created",
)  # fmt: skip
"""What places say of a file's bytes or its version; the first that there is tells two versions apart, with the size."""
_SECRET = re.compile("secret|password|passwd|token|credential|private|authorization", re.IGNORECASE)
_QUERY = re.compile(r"\?[^\s'\")]+")  # of an address in another library's words
_FOREIGN = frozenset(
    {"aiohttp", "aiobotocore", "botocore", "fsspec", "gcsfs", "google", "httpx", "huggingface_hub", "s3fs"}
)
_SAMPLED = 3  # files of an ending
_GLOB = re.compile(r"[*?\[]")


def _is_address(text: str) -> bool:
    scheme, separator, rest = text.partition("://")
    known = separator != "" and scheme in _SCHEMES and rest != "" and "::" not in text
    return known and without_passwords(text) == text


def _names_no_secret(values: object) -> bool:
    """Whether no name in options, however deep, is that of a secret."""
    if isinstance(values, Mapping):
        named = any(_SECRET.search(str(name)) or name == "key" for name in values)
        return not named and all(map(_names_no_secret, values.values()))
    return not isinstance(values, list | tuple) or all(map(_names_no_secret, values))


Address = Annotated[
    str,
    Allowed(
        f"an address that begins with one of {', '.join(f'{scheme}://' for scheme in _SCHEMES)}, without a password: "
        "that comes from the environment or the provider's own file",
        _is_address,
    ),
]


@dataclass
class UrlOptions:
    """The options of the source `url`."""

    urls: Annotated[list[Address], Allowed("at least one address", bool)]
    """Addresses of files, of folders, which are read with all below them, or patterns with `*`; HTTP has files only."""
    sha256: dict[str, Sha256] = field(default_factory=dict)
    """The SHA-256 that a file must have, by its name as it lies in build/raw/. Any other file may change, and is known
    by what data/fingerprints/ says of it."""
    storage: Annotated[
        dict[str, Any],
        Allowed("options without keys and passwords, which come from the environment", _names_no_secret),
    ] = field(default_factory=dict)
    """Options of fsspec's file system, as `endpoint_url` or `anon` of S3."""


@dataclass(frozen=True)
class _Remote:
    """A file at an address."""

    system: Any
    path: str
    info: Mapping[str, Any]
    scheme: str

    @property
    def size(self) -> int:
        return int(self.info.get("size") or 0)

    @property
    def version(self) -> dict[str, Any]:
        """What the place says of the file's bytes; empty where it says nothing that tells two versions apart."""
        name = next((name for name in _VERSIONS if self.info.get(name)), None)
        return {} if name is None else {name.lower(): str(self.info[name]), "size": self.size}

    @contextlib.contextmanager
    def opened(self) -> Iterator[IO[bytes]]:
        # Without blocks an HTTP file comes as a stream, from servers too that know no ranges.
        with self.system.open(
            self.path, "rb", **({"block_size": 0} if self.scheme in ("http", "https") else {})
        ) as file:
            yield file


@SOURCES.register("url")
class Url(CorpusSource):
    """Files at addresses.

    A file whose SHA-256 is not said may change. HTTP promises little about its versions, so that of its files the
    SHA-256 is recorded; of S3, Google Cloud Storage and the hub, their own word for a file's version.
    """

    options_class = UrlOptions
    options: UrlOptions

    def __init__(self, section: Source, options: Any) -> None:
        super().__init__(section, options)
        require(
            section.path is None, "source.path", section.path, "null for the kind url: options.urls has the addresses"
        )
        names = {_name_of(url) for url in self.options.urls}
        single = not any(_GLOB.search(url) or url.endswith("/") for url in self.options.urls)
        self.can_change = not (single and names <= set(self.options.sha256))

    def fingerprint(self, before: Fingerprint | None, downloads: Path) -> Fingerprint:
        """The SHA-256 or the version of each file."""
        return {name: self._state(name, remote, (before or {}).get(name), downloads) for name, remote in self._found()}

    def fetch(self, file_format: Format, into: Path, downloads: Path) -> dict[str, int]:
        """Bring the files that the format reads, as they were recorded."""
        found = dict(self._found())
        self._require_recorded(set(found))
        left_out: dict[str, int] = {}
        read = {}
        for name, remote in found.items():
            if file_format.reads(PurePosixPath(name)):
                read[name] = remote
            else:
                reason = kind_of(PurePosixPath(name)) or "no ending"
                left_out[reason] = left_out.get(reason, 0) + 1
        if not read:
            said = f"readable are {file_format.endings()}; it has {', '.join(sorted(left_out)) or 'no files'}"
            raise SourceError(f"{self._title()} has no file that can be read: {said}.", "unreadable")
        self._bring(read, into, downloads)
        return dict(sorted(left_out.items()))

    def sample(self, file_format: Format, into: Path, downloads: Path) -> None:
        """Bring some files of each ending, the smallest."""
        chosen: dict[str, list[tuple[str, _Remote]]] = {}
        for name, remote in sorted(self._found(), key=lambda item: (item[1].size, item[0])):
            if file_format.reads(PurePosixPath(name)):
                chosen.setdefault(kind_of(PurePosixPath(name)), []).append((name, remote))
        self._bring(dict(item for files in chosen.values() for item in files[:_SAMPLED]), into, downloads)

    def facts(self) -> dict[str, Any]:
        """The addresses, without what stands for this machine or may be a key."""
        return super().facts() | {"urls": [_public(url) for url in self.options.urls]}

    def _bring(self, files: Mapping[str, _Remote], into: Path, downloads: Path) -> None:
        total = sum(remote.size for remote in files.values())
        with track(f"Fetching {self._title()}", total / 1e6, "MB") as progress:
            for name, remote in files.items():
                to = into / portable(name)
                wanted = self._wanted(name)
                sha256 = wanted.get("sha256") if wanted is not None else None
                if sha256 is None:
                    if wanted is not None and not is_same(wanted, remote.version):
                        raise self._changed(name)
                    with self._explained(), remote.opened() as content:
                        write(content, to, lambda count: progress.advance(count / 1e6))
                    continue
                path = kept(sha256, downloads)
                if path is None:
                    with self._explained(), remote.opened() as content:
                        found = keep(content, downloads, lambda count: progress.advance(count / 1e6))
                    if found != sha256:
                        raise self._differs(name, sha256, found)
                    path = kept(sha256, downloads)
                    assert path is not None
                bring(path, to)

    def _wanted(self, name: str) -> Mapping[str, Any] | None:
        """What a file must be: what the settings say, or what was recorded; None where it is not known yet."""
        if name in self.options.sha256:
            return {"sha256": self.options.sha256[name].lower()}
        return None if self.recorded is None else self.recorded.get(name)

    def _state(self, name: str, remote: _Remote, before: Mapping[str, Any] | None, downloads: Path) -> dict[str, Any]:
        version = remote.version
        if remote.scheme not in ("http", "https") and version:
            return version
        if name in self.options.sha256:
            return {"sha256": self.options.sha256[name].lower()}
        known = {key: value for key, value in (before or {}).items() if key != "sha256"}
        if before is not None and "sha256" in before and version and known == version:
            return dict(before)
        with (
            self._explained(),
            track(f"Reading {name}", remote.size / 1e6, "MB") as progress,
            remote.opened() as content,
        ):
            return {"sha256": keep(content, downloads, lambda count: progress.advance(count / 1e6)), **version}

    def _found(self) -> list[tuple[str, _Remote]]:
        """The files by their names below the raw folder, sorted."""
        found: dict[str, _Remote] = {}
        for url in self.options.urls:
            with self._explained():
                for name, remote in _listed(url, self.options.storage):
                    if name in found:
                        raise SourceError(
                            f"Two files of source.options.urls are called {name}; leave one out.", "duplicate"
                        )
                    found[name] = remote
        return sorted(found.items())

    def _require_recorded(self, names: set[str]) -> None:
        """Refuse files that have come or gone since the fingerprint was taken."""
        if self.recorded is None:
            return
        for name in sorted(names ^ set(self.recorded)):
            if name not in self.options.sha256:
                raise self._changed(name)

    def _changed(self, name: str) -> SourceError:
        return SourceError(
            f"{name} of {self._title()} is not what it was when it was looked at last; `langmill refresh CORPUS` says "
            "what changed, and takes it as it is now.",
            "changed",
        )

    def _differs(self, name: str, sha256: str, found: str) -> SourceError:
        if name not in self.options.sha256:
            return self._changed(name)
        return SourceError(
            f"{name} of {self._title()} is not the promised file: its SHA-256 is {found}, but source.options.sha256 "
            f"says {sha256}. If it was replaced, look at what changed before you change the digest.",
            "damaged",
        )

    def _unreachable(self, error: Exception) -> SourceUnreachableError:
        said = _QUERY.sub("?…", without_passwords(" ".join(str(error).split())))  # a signed address is a key
        words = said[:200] or type(error).__name__
        return SourceUnreachableError(f"{self._title()} can't be read: {words}. Check the address and the network.")

    def _title(self) -> str:
        return _public(self.options.urls[0])

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what other libraries raise into a SourceError."""
        title = self._title()
        try:
            yield
        except LangmillError:
            raise
        except FileNotFoundError as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and _status(cause) not in (401, 404):
                raise self._unreachable(cause) from error  # fsspec says so of a server that does not answer, too
            raise SourceError(f"There is nothing at {title}; check source.options.urls.", "missing") from error
        except PermissionError as error:
            raise SourceError(f"{title} may not be read with the credentials of this machine.", "refused") from error
        except Exception as error:
            logger.error("%s can't be read", title, exc_info=error)
            if type(error).__name__ in ("NoCredentialsError", "DefaultCredentialsError", "GatedRepoError"):
                said = f"{title} wants credentials, and this machine has none; they come from the environment."
                raise SourceError(said, "refused") from error
            if isinstance(error, OSError | TimeoutError) or type(error).__module__.partition(".")[0] in _FOREIGN:
                raise self._unreachable(error) from error
            raise


def _listed(url: str, storage: Mapping[str, Any]) -> Iterator[tuple[str, _Remote]]:
    """The files at an address, each with its name below it."""
    scheme = url.partition("://")[0]
    system, path = _opened(url, scheme, storage)
    if scheme in ("http", "https"):
        yield _name_of(url), _Remote(system, url, system.info(url), scheme)
        return
    if _GLOB.search(path):
        base = _GLOB.split(path)[0].rpartition("/")[0]
        files = {name: info for name, info in system.glob(path, detail=True).items() if info["type"] == "file"}
    elif system.isdir(path):
        base, files = path, system.find(path, detail=True)
    else:
        base, files = path.rpartition("/")[0], {path: system.info(path)}
    if not files:
        raise FileNotFoundError(url)
    for name, info in sorted(files.items()):
        yield name.removeprefix(base).lstrip("/"), _Remote(system, name, info, scheme)


def _status(error: OSError) -> int | None:
    """The HTTP status that an error of the hub's client is about; 401 is what it says of a repository it hides."""
    return getattr(getattr(error, "response", None), "status_code", None)


def _opened(url: str, scheme: str, storage: Mapping[str, Any]) -> tuple[Any, str]:
    import fsspec  # type: ignore[import-untyped]

    own: dict[str, Any] = {"skip_instance_cache": True}
    if scheme in ("http", "https"):
        import aiohttp

        # The whole of a large file may take hours; a server that is silent for a minute is gone.
        own["client_kwargs"] = {"timeout": aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)}
    try:
        system, path = fsspec.core.url_to_fs(url, **own, **storage)
    except ImportError as error:
        extra = _EXTRAS.get(scheme, scheme)
        raise SourceError(
            f'{scheme}:// is read by a library that is not installed here: pip install "langmill[{extra}]".', "missing"
        ) from error
    except (TypeError, ValueError) as error:
        raise SourceError(f"source.options can't be used for {scheme}://: {error}.", "impossible") from error
    return system, str(path)


def _name_of(url: str) -> str:
    """What the file at an address is called: the last part of its path."""
    path = urlsplit(url).path if url.startswith("http") else url
    return unquote(PurePosixPath(path).name) if url.startswith("http") else PurePosixPath(path).name


def _public(url: str) -> str:
    """An address without what may be a key (its query), or the path of this machine."""
    if url.startswith("file://"):
        return f"file://{PurePosixPath(url).name}"
    return without_passwords(url.partition("?")[0] if url.startswith("http") else url)
