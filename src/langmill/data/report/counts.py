"""What is counted of a split, of a step and of a source."""

from __future__ import annotations

import heapq
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from langmill.data.document import Document
from langmill.data.rows import utf8_bytes

_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
_SAMPLES = 3  # documents shown of each split
_SAMPLE_CHARACTERS = 300
_BINS_A_DECADE = 10


@dataclass
class SplitCount:
    """One split of the corpus."""

    documents: int = 0
    num_bytes: int = 0
    """UTF-8 bytes of the texts."""
    targets: int = 0
    """Documents with a target."""
    target_characters: int = 0
    """Characters of all targets."""
    target_bytes: int = 0
    """UTF-8 bytes of the targets."""
    lengths: array[int] = field(default_factory=lambda: array("Q"))
    """Characters of each text."""
    target_lengths: array[int] = field(default_factory=lambda: array("Q"))
    """Characters of each target."""
    labels: Counter[str] = field(default_factory=Counter)
    unlabelled: int = 0
    languages: Counter[str] = field(default_factory=Counter)
    """Documents by their language, where a step found it."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Documents left out that would be in this split, by reason."""
    samples: list[tuple[bytes, str, Document]] = field(default_factory=list)
    """A heap of the documents with the largest keys: a random choice that is always the same."""

    def add(self, document: Document, key: bytes) -> int:
        """Count a document, and say how many bytes of UTF-8 it has; `key` is a hash of its content."""
        text_bytes, target_bytes = utf8_bytes(document.text), 0
        self.documents += 1
        self.num_bytes += text_bytes
        self.lengths.append(len(document.text))
        if document.target is not None:
            self.targets += 1
            self.target_characters += len(document.target)
            self.target_lengths.append(len(document.target))
            target_bytes = utf8_bytes(document.target)
            self.target_bytes += target_bytes
        if document.label is None:
            self.unlabelled += 1
        else:
            self.labels[document.label] += 1
        if language := document.metadata.get("language"):
            self.languages[language] += 1
        if len(self.samples) < _SAMPLES:
            heapq.heappush(self.samples, (key, document.id, document))
        elif key > self.samples[0][0]:
            heapq.heapreplace(self.samples, (key, document.id, document))
        return text_bytes + target_bytes

    def quantiles(self) -> dict[str, int]:
        """Lengths in characters below which the given shares of the documents lie."""
        return quantiles_of(self.lengths)

    def target_quantiles(self) -> dict[str, int]:
        """The same of the targets."""
        return quantiles_of(self.target_lengths)

    def shown(self, places: Mapping[str, str]) -> list[dict[str, str | None]]:
        """A few documents, shortened, with their places by their ids."""
        return [
            {
                "id": document.id,
                "where": places.get(document.id),
                "label": document.label,
                "text": _beginning(document.text),
                "target": None if document.target is None else _beginning(document.target),
            }
            for _, _, document in sorted(self.samples, key=lambda sample: sample[:2], reverse=True)
        ]


def quantiles_of(*lengths: array[int]) -> dict[str, int]:
    """Lengths below which the given shares of all of them lie; none without any."""
    if not any(lengths):
        return {}
    values = np.quantile(np.concatenate(lengths), _QUANTILES, method="lower")
    return {f"{share:g}": int(value) for share, value in zip(_QUANTILES, values, strict=True)}


def _beginning(text: str) -> str:
    return text if len(text) <= _SAMPLE_CHARACTERS else f"{text[:_SAMPLE_CHARACTERS]}…"


@dataclass
class StepCount:
    """What a step of cleaning did."""

    changed: int = 0
    """Documents that it changed, kept in the end or not."""
    changes: Counter[str] = field(default_factory=Counter)
    """What it changed in them, by kind, where it tells them apart."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Documents that it dropped, by reason."""


@dataclass
class SourceCount:
    """What came from one source and what is left of it."""

    rows: int = 0
    kept: int = 0
    num_bytes: int = 0
    """UTF-8 bytes of the rows as read; of a row that could not be read, those of the raw row."""
    kept_bytes: int = 0
    """UTF-8 bytes of the documents kept."""


def histogram(lengths: Mapping[str, Iterable[int]]) -> dict[str, list[int]]:
    """Histograms with shared bins, ten to a factor of ten.

    Args:
        lengths: The lengths of each split's documents, in characters.

    Returns:
        `edges`, one more than there are bins, and of each split the documents in each bin: those of at least its left
        edge and less than its right one. No bins without documents.
    """
    arrays = {name: np.maximum(np.asarray(values, dtype=np.uint64), 1) for name, values in lengths.items()}
    longest = max((int(values.max()) for values in arrays.values() if values.size), default=0)
    if not longest:
        return {"edges": [], **{name: [] for name in arrays}}
    shortest = max(1, min(int(values.min()) for values in arrays.values() if values.size))
    edges = [1]
    for number in range(1, 200):  # 10**20 is more than fits into the lengths
        edge = round(10 ** (number / _BINS_A_DECADE))
        if edge > edges[-1]:
            edges.append(edge)
        if edge > longest:
            break
    while len(edges) > 2 and edges[1] <= shortest:  # what is left begins with the bin of the shortest
        edges.pop(0)
    bounds = np.asarray(edges, dtype=np.uint64)
    counts = {
        name: np.bincount(np.searchsorted(bounds, values, side="right") - 1, minlength=len(edges) - 1)
        if values.size
        else np.zeros(len(edges) - 1, dtype=np.int64)
        for name, values in arrays.items()
    }
    return {"edges": edges, **{name: [int(count) for count in values] for name, values in counts.items()}}
