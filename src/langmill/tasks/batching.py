"""Batches whose content is a pure function of (seed, epoch, step), for any number of processes and workers.

All orders below are endless lists of items: item `i` belongs to epoch `i // items` over the data, and each epoch has an
order of its own, drawn from a counter-based generator (Philox; Salmon et al., 2011) keyed by (seed, epoch). Optimizer
step `s` takes items `s * batch_size` to `(s + 1) * batch_size`, whoever works on them: the processes and the
micro-batches only cut that range into pieces.

Shape suffixes: B sequences of a micro-batch, T tokens.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch
from torch import Tensor

from langmill.config.sections import Training
from langmill.errors import ConfigError, DataError

Batch = dict[str, Tensor]
_EPOCHS_KEPT = 2  # in memory, their orders: a batch may lie across two epochs


class MicroBatches(ABC):
    """An endless list of one process's micro-batches: number `i` is always the same one."""

    @abstractmethod
    def __getitem__(self, index: int) -> Batch:
        """Micro-batch `index`, counted from the first step of training."""


@dataclass(frozen=True)
class Share:
    """Which part of every global batch is one process's."""

    seed: int
    batch_size: int
    """Sequences in one optimizer step, over all processes."""
    micro_batch_size: int
    rank: int
    world_size: int

    @classmethod
    def of(cls, training: Training, rank: int, world_size: int) -> Share:
        """The share that the settings give to a process.

        Raises ConfigError where the global batch can't be cut into equal micro-batches for so many processes.
        """
        if training.batch_size % (training.micro_batch_size * world_size):
            raise ConfigError(
                f"training.batch_size is {training.batch_size}; allowed is a multiple of "
                f"processes x micro_batch_size = {world_size} x {training.micro_batch_size}.",
                code="impossible",
            )
        return cls(training.seed, training.batch_size, training.micro_batch_size, rank, world_size)

    def items(self, index: int) -> tuple[int, int]:
        """The range of the endless list that this process's micro-batch `index` holds."""
        accumulation = self.batch_size // (self.micro_batch_size * self.world_size)
        step, turn = divmod(index, accumulation)
        start = step * self.batch_size + (turn * self.world_size + self.rank) * self.micro_batch_size
        return start, start + self.micro_batch_size


def first_batches(count: int, training: Training, make: Callable[[Share], MicroBatches]) -> list[Batch]:
    """Batches of some of a split's items, drawn from all over it, each at most once and always the same.

    `count` is the split's number of items; `make` makes the endless list of a share's batches.
    """
    if not count:
        return []
    size = min(training.micro_batch_size, count)
    batches = make(Share(0, size, size, rank=0, world_size=1))
    return [batches[index] for index in range(min(training.validation_batches, count // size))]


def generator(seed: int, epoch: int) -> np.random.Generator:
    """Random numbers that depend on the seed and the epoch alone."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, epoch], dtype=np.uint64)))


def num_blocks(num_tokens: int, block_length: int) -> int:
    """Blocks in a stream of tokens; a short one is a block as well."""
    return max(1, num_tokens // block_length) if num_tokens else 0


class PackedBatches(MicroBatches):
    """Blocks cut out of the flat stream of tokens, nothing padded, each epoch at another phase.

    The stream is a ring: after the last document's end-of-text token comes the first document. So a corpus shorter than
    one block works too. An epoch leaves out the fewer than `block_length` tokens before its random starting point that
    do not fill a block. Raises DataError where the stream is empty.
    """

    def __init__(self, tokens: np.ndarray, block_length: int, share: Share) -> None:
        if not len(tokens):
            raise DataError(
                "The training split holds no tokens: no document of the corpus is left for it. "
                "Add documents, or lower split.validation and split.test.",
                code="too_few",
            )
        self._tokens = tokens
        self._length = block_length
        self._share = share
        self.num_blocks = num_blocks(len(tokens), block_length)
        self._epoch = functools.lru_cache(_EPOCHS_KEPT)(self._starts)

    def __getitem__(self, index: int) -> Batch:
        """Micro-batch `index`: `tokens` and `targets`, both `(B, T)` int64, each target the token after."""
        items = np.asarray(self.items(index))
        starts = np.empty(len(items), dtype=np.int64)
        epochs = items // self.num_blocks
        for epoch in np.unique(epochs):
            inside = epochs == epoch
            starts[inside] = self._epoch(int(epoch))[items[inside] % self.num_blocks]
        places = (starts[:, None] + np.arange(self._length + 1)) % len(self._tokens)
        block = torch.from_numpy(self._tokens[places].astype(np.int64))
        return {"tokens": block[:, :-1].contiguous(), "targets": block[:, 1:].contiguous()}

    def items(self, index: int) -> range:
        """The blocks of micro-batch `index` in the endless list: `num_blocks` for each epoch."""
        return range(*self._share.items(index))

    def _starts(self, epoch: int) -> np.ndarray:
        """Where the blocks of an epoch begin, in the epoch's order."""
        random = generator(self._share.seed, epoch)
        phase = random.integers(len(self._tokens))
        return np.asarray(random.permutation(self.num_blocks) * self._length + phase)


class Truncation(StrEnum):
    """Which tokens of a document that is too long are kept."""

    head = "head"
    tail = "tail"
    head_and_tail = "head_and_tail"


def truncate(tokens: np.ndarray, length: int, truncation: Truncation) -> np.ndarray:
    """At most `length` tokens of a document; `head_and_tail` takes half from each end."""
    if len(tokens) <= length:
        return tokens
    if truncation is Truncation.head:
        return tokens[:length]
    if truncation is Truncation.tail:
        return tokens[len(tokens) - length :]
    head = length // 2
    return np.concatenate([tokens[:head], tokens[len(tokens) - (length - head) :]])


def pad(sequences: Sequence[np.ndarray], pad_id: int, length: int = 0, rows: int = 0) -> tuple[Tensor, Tensor]:
    """Sequences side by side, filled up at their ends: tokens `(B, T)` and lengths `(B,)`, both int64.

    A sequence without tokens becomes one pad token, so that every network has something to look at.

    T is at least `length`, and B at least `rows`: what is missing is added as sequences without tokens.
    """
    sequences = [*sequences, *[np.zeros(0, dtype=np.int64)] * (rows - len(sequences))]
    lengths = np.array([max(1, len(sequence)) for sequence in sequences], dtype=np.int64)
    padded = np.full((len(sequences), max(length, lengths.max())), pad_id, dtype=np.int64)
    for row, sequence in zip(padded, sequences, strict=True):
        row[: len(sequence)] = sequence
    return torch.from_numpy(padded), torch.from_numpy(lengths)


def fill_batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[range]:
    """Runs of neighbours in a list sorted by length, each as long as `batch_tokens`, padding counted, allows."""
    start = 0
    while start < len(lengths):
        end = start + 1
        while end < len(lengths) and (end + 1 - start) * lengths[end] <= batch_tokens:
            end += 1
        yield range(start, end)
        start = end


BATCHES_SORTED_TOGETHER = 50
"""Batches' worth of examples that are sorted by length: more waste less padding, fewer mix the lengths better."""


@dataclass(frozen=True)
class Examples:
    """Labelled documents of a shard."""

    tokens: np.ndarray
    """The shard's flat stream."""
    starts: np.ndarray
    """Where each example's tokens begin, `(examples,)`."""
    lengths: np.ndarray
    """How many there are, `(examples,)`."""
    labels: np.ndarray
    """The index of each example's class, `(examples,)`."""
    weights: np.ndarray
    """How much each example counts in the loss, `(examples,)` float32."""


class PaddedBatches(MicroBatches):
    """Padded batches of examples of about equal length; a subclass says what a batch of chosen examples holds.

    Each epoch shuffles the examples, cuts them into groups of 50 batches, sorts each group by length, cuts it into
    batches and shuffles the batches. Every example comes once in an epoch; where the batches do not come out even, a
    few come twice. `lengths` are the tokens of each example as it will stand in a batch, `(examples,)`. Raises
    DataError where there are no examples.
    """

    def __init__(self, lengths: np.ndarray, share: Share) -> None:
        if not len(lengths):
            raise DataError(
                "The training split holds no document that the task can learn from. "
                "Check the corpus's fields and task.options, or lower split.validation and split.test.",
                code="too_few",
            )
        self._lengths = lengths
        self._share = share
        self.epoch_steps = -(-len(lengths) // share.batch_size)
        self._epoch = functools.lru_cache(_EPOCHS_KEPT)(self._order)

    @abstractmethod
    def collate(self, chosen: np.ndarray) -> Batch:
        """The batch that some examples make, by their numbers."""

    def __getitem__(self, index: int) -> Batch:
        """Micro-batch `index`."""
        first, end = self._share.items(index)
        epoch, place = divmod(first, self.epoch_steps * self._share.batch_size)
        return self.collate(self._epoch(epoch)[place : place + end - first])

    def _order(self, epoch: int) -> np.ndarray:
        """The examples of an epoch in its order, a whole number of global batches."""
        random = generator(self._share.seed, epoch)
        size = self._share.batch_size
        order = np.resize(random.permutation(len(self._lengths)), self.epoch_steps * size)
        group = np.arange(len(order)) // (size * BATCHES_SORTED_TOGETHER)
        order = order[np.lexsort((self._lengths[order], group))]
        return order.reshape(-1, size)[random.permutation(self.epoch_steps)].ravel()


class BucketedBatches(PaddedBatches):
    """Labelled documents of about equal length, truncated at `block_length` tokens."""

    def __init__(
        self, examples: Examples, block_length: int, truncation: Truncation, pad_id: int, share: Share
    ) -> None:
        super().__init__(np.minimum(examples.lengths, block_length), share)
        self._examples = examples
        self._length = block_length
        self._truncation = truncation
        self._pad_id = pad_id

    def collate(self, chosen: np.ndarray) -> Batch:
        """`tokens` `(B, T)`, `lengths` `(B,)` and `labels` `(B,)`, all int64; `weights` `(B,)` in float32."""
        examples = self._examples
        sequences = [
            truncate(examples.tokens[start : start + length], self._length, self._truncation)
            for start, length in zip(examples.starts[chosen], examples.lengths[chosen], strict=True)
        ]
        tokens, lengths = pad(sequences, self._pad_id)
        return {
            "tokens": tokens,
            "lengths": lengths,
            "labels": torch.from_numpy(examples.labels[chosen]),
            "weights": torch.from_numpy(examples.weights[chosen]),
        }
