"""Texts to tokens in bulk, a bounded number at a time."""

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
    """What a task makes of a document, before it is encoded."""

    id: str
    parts: list[str]
    """The texts to encode, each by itself."""
    label: str | None


def encode_examples(examples: Iterable[Example], tokenizer: Tokenizer, threads: int) -> Iterator[EncodedDocument]:
    """Encode examples in their order.

    Args:
        examples: What to encode; read as far as memory allows for, not to the end.
        tokenizer: Gives the ids.
        threads: How many encode side by side; has no influence on the result.
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
