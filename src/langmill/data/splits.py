"""Which side of the corpus a document is on, as a function of its text alone.

Documents that read alike, whatever their case, white space and Unicode form, are always on the same side: the sides
are disjoint by construction, and adding documents moves none.
"""

from __future__ import annotations

import hashlib

from langmill.config import sections
from langmill.data.document import Split
from langmill.data.folding import key_of

_HASHES = 2**64


def side_of(text: str, split: sections.Split) -> Split:
    """The side of a document.

    Args:
        text: Its cleaned text.
        split: The shares and the salt.
    """
    return side_of_key(key_of(text), split)


def side_of_key(key: bytes, split: sections.Split) -> Split:
    """The side of the documents with a key (`key_of`).

    A hash of the salt and the key is a number from 0 to 1: below `split.test` it is the test side, in the next
    `split.validation` the validation side, and training is the rest.
    """
    digest = hashlib.sha256(split.salt.encode() + b"\0" + key).digest()
    share = int.from_bytes(digest[:8], "big") / _HASHES
    if share < split.test:
        return Split.test
    return Split.validation if share < split.test + split.validation else Split.train
