"""What a corpus's documents must look like to be trained on: the section `contract` of conf/corpus/."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, NonNegativeInt

from langmill.config.constraints import Allowed
from langmill.config.typed import settings


def _grows(pairs: list[tuple[int, float]]) -> bool:
    later = pairs[1:]
    return all(a[0] < b[0] and a[1] <= b[1] for a, b in zip(pairs, later, strict=False))


Portion = Annotated[float, Field(ge=0, le=1)]
"""A share of documents, rows or bytes, from 0 to 1."""
Distribution = Annotated[
    list[tuple[NonNegativeInt, Portion]],
    Allowed("pairs of a length and the share of documents up to it, both growing", _grows),
]
"""Points of a cumulative distribution: a length, and the share of documents that are as long or shorter."""


@settings
class Reference:
    """The documents that shift is measured against; `langmill profile NAME` writes it."""

    documents: NonNegativeInt
    """Documents of all splits."""
    bytes: NonNegativeInt
    """UTF-8 bytes of their texts and targets."""
    lengths: Distribution
    """Characters of a text."""
    target_lengths: Distribution
    """Characters of a target; empty where there are none."""
    labels: dict[str, Portion]
    """Share of the labelled documents with each label, the most common ones; empty where there are none."""
    languages: dict[str, Portion]
    """Share of documents in each language; empty where no step of cleaning tells it."""


@settings
class Contract:
    """What is expected of a corpus."""

    expectations: dict[str, dict[str, Any] | None]
    """The expectations by their names, each with its options; null leaves one out. A name is a file's in
    src/langmill/data/contract/expectations/, or an entry point of another distribution in the group
    langmill.expectations. `stop` is a limit beyond which nothing is trained, `warn` one that is only told."""
    reference: Reference | None
    """What the documents looked like when someone last looked at them; null asks for no shift."""
