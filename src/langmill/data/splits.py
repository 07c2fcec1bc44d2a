"""Which split of the corpus a document is in, as a function of its text or of one of its metadata fields alone.

Documents that read alike, whatever their case, white space and Unicode form, are always in the same split: the splits
are disjoint by construction, and adding documents moves none. A cluster of near duplicates goes by the key of one of
them (`near_duplicates.find`). Where a field decides (`split.by`), its equal values are in the same split, and
`corpus.make_corpus` sees to it that no text is in two.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from langmill.config import sections
from langmill.data.document import Split
from langmill.data.folding import key_of

_HASHES = 2**64


def deciding_key(text_key: bytes, metadata: Mapping[str, str], split: sections.Split) -> bytes:
    """What decides a document's split: its text's key, or the key of the field that `split.by` names.

    A document without a value there goes by its text; else all of these would be in one split.
    """
    value = metadata.get(split.by, "") if split.by else ""
    return key_of(value) if value else text_key


def split_of_key(key: bytes, split: sections.Split) -> Split:
    """The split of the documents with a key (`deciding_key`).

    A hash of the salt and the key is a number from 0 to 1: below `split.test` it is the test split, in the next
    `split.validation` the validation split, and training is the rest.
    """
    digest = hashlib.sha256(split.salt.encode() + b"\0" + key).digest()
    share = int.from_bytes(digest[:8], "big") / _HASHES
    if share < split.test:
        return Split.test
    return Split.validation if share < split.test + split.validation else Split.train
