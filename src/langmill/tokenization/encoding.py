"""Encode texts in batches of bounded size."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from langmill.tokenization.shards import EncodedDocument
from langmill.tokenization.tokenizer import Tokenizer

_EXAMPLES = 4096
_CHARACTERS = 8_000_000  # of text held at once


@dataclass(frozen=True, slots=True)
class Example:
    """The texts of a document that a task uses, before encoding."""

    id: str
    parts: list[str]
    """The texts to encode, each by itself."""
    label: str | None


def encode_examples(examples: Iterable[Example], tokenizer: Tokenizer, threads: int) -> Iterator[EncodedDocument]:
    """Encode examples in their order.

    Args:
        examples: The examples; read in batches.
        tokenizer: The tokenizer.
        threads: Number of threads; has no influence on the result.
    """
    for batch in _batches(examples):
        encoded = iter(tokenizer.encode_batch([part for example in batch for part in example.parts], threads))
        for example in batch:
            size = sum(len(part) if part.isascii() else len(part.encode()) for part in example.parts)
            yield EncodedDocument(example.id, list(itertools.islice(encoded, len(example.parts))), size, example.label)


def _batches(examples: Iterable[Example]) -> Iterator[list[Example]]:
    batch: list[Example] = []
    size = 0
    for example in examples:
        batch.append(example)
        size += sum(map(len, example.parts))
        if len(batch) == _EXAMPLES or size >= _CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
