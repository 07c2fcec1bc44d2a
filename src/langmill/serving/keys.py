"""Keys that let a client in: only their SHA-256 digests are kept.

A key made here has 256 random bits, so its digest needs no salt and no slow hash: nobody guesses it.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from pathlib import Path

from langmill.errors import ServingError

_PREFIX = "sha256:"
_LINE = re.compile(rf"{_PREFIX}([0-9a-f]{{64}})(?:\s+#.*)?")
_KEY_BYTES = 32


def new_key() -> str:
    """A random key, safe in a header and in a shell."""
    return secrets.token_urlsafe(_KEY_BYTES)


def digest(key: str) -> bytes:
    """The key's SHA-256 digest."""
    return hashlib.sha256(key.encode()).digest()


def key_line(key: str) -> str:
    """The line of the file of keys that lets a key in, and does not reveal it."""
    return _PREFIX + digest(key).hex()


def is_key_line(line: str) -> bool:
    """Whether a line holds a digest."""
    return _LINE.fullmatch(line.strip()) is not None


def read_keys(path: str | None) -> tuple[bytes, ...]:
    """The digests in a file with one a line; empty lines, and what follows a #, are skipped.

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
    digests = []
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
        digests.append(bytes.fromhex(found[1]))
    if not digests:
        raise ServingError(
            f"serving.api_keys_file {path} holds no key; `langmill key >> {path}` makes one, null lets anyone in.",
            code="too_few",
        )
    return tuple(digests)
