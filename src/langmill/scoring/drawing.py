"""Which documents are judged where judging all of them takes too long.

The draw is a systematic sample of the documents in the order of their strata (Cochran, 1977, chapter 8): each stratum,
and each stratum of strata, gets its share of it to within one document. Where there are more strata than documents to
draw, as with the conversations of a corpus, so many of them get one. Within a stratum, and among equal strata, a hash
of the seed decides, so that the draw is the same in every process, and that documents added to one stratum change
little in the others.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

from langmill.data.document import Document


def draw(documents: Sequence[Document], most: int | None, seed: int, fields: Sequence[str]) -> list[Document]:
    """At most `most` of the documents, in their order; all of them for None.

    Args:
        documents: With different ids.
        most: How many.
        seed: Another one draws others.
        fields: The metadata fields that make the strata, the coarsest first; labels are coarser than all of them.
    """
    if most is None or len(documents) <= most:
        return list(documents)
    strata: dict[tuple[str, ...], list[str]] = {}
    for document in documents:
        values = (document.label or "", *(document.metadata.get(field, "") for field in fields))
        strata.setdefault(values, []).append(document.id)
    kept: set[str] = set()
    start = int(_hash(seed, "")[:8], 16) / 2**32
    before = 0
    for values in sorted(strata, key=lambda values: [_hash(seed, value) for value in values]):
        ids = sorted(strata[values], key=lambda name: (_hash(seed, name), name))
        first, last = (math.floor(start + count * most / len(documents)) for count in (before, before + len(ids)))
        kept.update(ids[: last - first])
        before += len(ids)
    return [document for document in documents if document.id in kept]


def _hash(seed: int, text: str) -> str:
    return hashlib.sha256(f"{seed} {text}".encode()).hexdigest()
