"""Sequences of which some parts are learned, as batches: a conversation and the assistant's words in it.

A document's parts in the shard alternate: what is read only, what is learned, and so on; the last part is the token
that ends the last learned one, or empty where that was truncated. The token after a learned part ends it and is learned
too; not so behind an empty one, from which a model would learn to say nothing. Shape suffixes: B sequences of a
micro-batch, T tokens.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from langmill.tasks.batching import Batch, PaddedBatches, Share, pad
from langmill.tasks.pairs import NOT_COUNTED
from langmill.tokenization.shards import Shard


class Sequences:
    """The sequences of a shard."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self.lengths = shard.lengths

    def __len__(self) -> int:
        return self._shard.num_sequences

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """A sequence and whether each of its tokens is learned, both `(tokens,)`."""
        parts = self._shard.parts(number)
        learned = [np.full(len(part), bool(place % 2)) for place, part in enumerate(parts)]
        for answer, behind in zip(learned[1::2], learned[2::2], strict=True):
            behind[:1] = len(answer) > 0
        return np.concatenate(parts).astype(np.int64), np.concatenate(learned)

    def targets(self) -> Iterator[np.ndarray]:
        """The learned parts, without the token that ends each."""
        for number in range(len(self)):
            yield from self._shard.parts(number)[1::2]


class SequenceBatches(PaddedBatches):
    """Batches of sequences of about equal length: `tokens` and `targets` `(B, T)`, `lengths` `(B,)`, all int64."""

    def __init__(self, sequences: Sequences, length: int, pad_id: int, share: Share) -> None:
        super().__init__(np.minimum(sequences.lengths, length), share)
        self._spans = sequences
        self._length = length
        self._pad_id = pad_id

    def collate(self, chosen: np.ndarray) -> Batch:
        """The batch of some sequences; the last token is predicted and never read."""
        found = [self._spans[number] for number in chosen]
        whole = [(tokens[: self._length + 1], learned[: self._length + 1]) for tokens, learned in found]
        tokens, lengths = pad([sequence[:-1] for sequence, _ in whole], self._pad_id)
        wanted = [np.where(learned, sequence, NOT_COUNTED)[1:] for sequence, learned in whole]
        targets, _ = pad(wanted, NOT_COUNTED)
        return {"tokens": tokens, "targets": targets, "lengths": lengths}
