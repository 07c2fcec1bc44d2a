"""When two documents are the same one."""

from __future__ import annotations

import hashlib
import unicodedata


def fold(text: str) -> str:
    """The text with case, white space and Unicode form evened out: documents are alike when this is equal."""
    folded = text.casefold()
    lined = folded.replace("\n\n", " ").replace("\n", " ")
    # Most clean texts are through here: what is printable has no white space but the space.
    folded = lined.strip(" ") if lined.isprintable() and "  " not in lined else " ".join(folded.split())
    return folded if folded.isascii() else unicodedata.normalize("NFC", folded)


def key_of(text: str) -> bytes:
    """The SHA-256 of the folded text: equal for documents that are alike, and for no others."""
    return hashlib.sha256(fold(text).encode()).digest()


def pair_key_of(text_key: bytes, target_key: bytes) -> bytes:
    """One key for a text and its target, from the key of each."""
    return hashlib.sha256(text_key + target_key).digest()
