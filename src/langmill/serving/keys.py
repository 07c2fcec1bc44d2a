"""Keys that let a client in: only their SHA-256 digests are kept.

A key made here has 256 random bits, so its digest needs no salt and no slow hash: nobody guesses it.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import secrets
import stat
import time
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from langmill.errors import ServingError

log = logging.getLogger(__name__)
_PREFIX = "sha256:"
_KEY_BYTES = 32
_LOOK_SECONDS = 1.0


class Scope(StrEnum):
    """What a key opens."""

    ask = "ask"
    """The models."""
    administer = "administer"
    """The models, and what is said of the server itself: counters, and why a model is not ready."""


_LINE = re.compile(rf"{_PREFIX}([0-9a-f]{{64}})(?:\s+({'|'.join(Scope)}))?(?:\s+#.*)?")


@dataclass(frozen=True)
class Grant:
    """A key's digest and what the key opens."""

    digest: bytes
    scope: Scope = Scope.administer
    """Of a line that says nothing: everything, as before there were scopes."""

    @property
    def who(self) -> str:
        """A name for logs and counters that does not tell the key."""
        return self.digest.hex()[:12]


def new_key() -> str:
    """A random key, safe in a header and in a shell."""
    return secrets.token_urlsafe(_KEY_BYTES)


def digest(key: str) -> bytes:
    """The key's SHA-256 digest."""
    return hashlib.sha256(key.encode()).digest()


def key_line(key: str, scope: Scope | None = None) -> str:
    """The line of the file of keys that lets a key in, and does not reveal it.

    Raises ServingError where the key has characters that no header can carry unchanged.
    """
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ServingError("A key is made of visible ASCII characters; `langmill key` makes one.", code="impossible")
    return _PREFIX + digest(key).hex() + (f" {scope}" if scope else "")


def is_key_line(line: str) -> bool:
    """Whether a line holds a digest."""
    return _LINE.fullmatch(line.strip()) is not None


def read_keys(path: str | None) -> tuple[Grant, ...]:
    """What a file grants that has one digest a line; empty lines, and what follows a #, are skipped.

    Raises:
        ServingError: The file can't be read, holds no digest, or holds something else: a key in clear, for instance.
    """
    if path is None:
        return ()
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ServingError(
            f"serving.api_keys_file {path} can't be read ({error}); `langmill key >> {path}` makes a key and the file.",
            code="missing" if isinstance(error, FileNotFoundError) else "unreadable",
        ) from error
    grants = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _LINE.fullmatch(line.strip())
        if found is None:  # not shown: it may be a key
            raise ServingError(
                f"Line {number} of serving.api_keys_file {path} is not the digest of a key, and keys do not lie there "
                f"in clear; `langmill key --convert < {path} > NEW` writes their digests.",
                code="unreadable",
            )
        grants.append(Grant(bytes.fromhex(found[1]), Scope(found[2]) if found[2] else Scope.administer))
    if not grants:
        raise ServingError(
            f"serving.api_keys_file {path} holds no key; `langmill key >> {path}` makes one, null lets anyone in.",
            code="too_few",
        )
    return tuple(grants)


class KeyRing:
    """The keys that let clients in, read again when their file changes.

    A file that can't be read any more, or holds something else, locks nobody out and lets nobody in: the keys of before
    stay, and the log says why.
    """

    def __init__(self, path: str | None, grants: Iterable[Grant] = ()) -> None:
        """Read the keys. Raises as `read_keys`."""
        self._path = path
        self._looked = time.monotonic()
        self._seen = self._state()
        self._grants = tuple(grants) or read_keys(path)

    @classmethod
    def fixed(cls, digests: Iterable[bytes]) -> KeyRing:
        """A ring of keys that open everything, in no file; of none, an open server."""
        return cls(None, [Grant(each) for each in digests])

    def __bool__(self) -> bool:
        """Whether a key is wanted at all."""
        return bool(self._grants)

    @property
    def warning(self) -> str | None:
        """What is unwise about the file; None if nothing is."""
        if self._path is None:
            return None
        mode = os.stat(self._path).st_mode
        if mode & (stat.S_IWGRP | stat.S_IWOTH):
            return f"Others may write {self._path} and so let themselves in; `chmod 600 {self._path}` ends that."
        if mode & stat.S_IROTH:
            return f"Everyone on this machine may read {self._path}; `chmod 600 {self._path}` ends that."
        return None

    def find(self, key: str) -> Grant | None:
        """What a key opens; None for one that is not known."""
        self._refresh()
        given = digest(key)
        # Every key is compared, each in constant time: how long it takes says nothing.
        matches = [hmac.compare_digest(given, grant.digest) for grant in self._grants]
        return next((grant for grant, same in zip(self._grants, matches, strict=True) if same), None)

    def _refresh(self) -> None:
        now = time.monotonic()
        if self._path is None or now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        if (state := self._state()) == self._seen:
            return
        self._seen = state
        try:
            self._grants = read_keys(self._path)
        except ServingError as error:
            log.warning("The keys of before stay: %s", error)
        else:
            log.info("%d keys were read again from %s", len(self._grants), self._path)

    def _state(self) -> tuple[int, ...] | None:
        try:
            found = os.stat(self._path or "")
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns
