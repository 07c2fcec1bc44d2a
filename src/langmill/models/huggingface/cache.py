"""The cache of a model of `transformers`, behind our interface.

The sequences of a batch may have unequal lengths: new tokens take the same slots in all rows, and a mask says which
slots of a row hold a token. A sequence that joins others is aligned with them at its end: the shorter ones get empty
slots before their first token. Shape suffixes: see `langmill.models.base`; S stands for the slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from langmill.models.base import Cache, JoinableCache


class PastKeyValues(JoinableCache):
    """Keys and values in a `DynamicCache` of `transformers`, and of an encoder-decoder the source as well.

    Attributes:
        past: The cache that the network fills: a `DynamicCache`, or an `EncoderDecoderCache` of two.
        lengths: Tokens seen of each sequence.
        filled_BS: True where a row's slot holds a token.
        memory: An encoder's hidden states `(batch, source length, dim)` and a mask `(batch, source length)` of the
            real ones; None for a language model.
    """

    def __init__(self, past: Any, batch_size: int, memory: tuple[Tensor, Tensor] | None, device: torch.device) -> None:
        self.past = past
        self.lengths = [0] * batch_size
        self.filled_BS = torch.ones(batch_size, 0, dtype=torch.bool, device=device)
        self.memory = memory

    def record(self, filled_BT: Tensor) -> None:
        """Record that the network has read new tokens, where `filled_BT` is true."""
        self.filled_BS = torch.cat([self.filled_BS, filled_BT], dim=1)
        self.advance(filled_BT.shape[1], filled_BT.sum(dim=1))

    def keep(self, rows: Sequence[int]) -> None:
        """Keep these sequences only, in this order."""
        index = torch.tensor(rows, dtype=torch.long, device=self.filled_BS.device)
        for layer in _layers(self.past):
            layer.keys, layer.values = layer.keys.index_select(0, index), layer.values.index_select(0, index)
        self.filled_BS = self.filled_BS.index_select(0, index)
        if self.memory is not None:
            self.memory = (self.memory[0].index_select(0, index), self.memory[1].index_select(0, index))
        self.lengths = [self.lengths[row] for row in rows]

    def emptied(self) -> Self:
        """Make a cache of this kind without sequences; see `JoinableCache`."""
        return type(self)(type(self.past)(), 0, None, self.filled_BS.device)

    def join(self, other: Cache, capacity: int) -> None:
        """Take in the only sequence of a language model's cache; see `JoinableCache`. Everything is copied."""
        del capacity
        assert isinstance(other, PastKeyValues)
        if not self.lengths:
            self.past, self.filled_BS = other.past, other.filled_BS
        else:
            slots = max(self.filled_BS.shape[1], other.filled_BS.shape[1])
            both = [F.pad(each.filled_BS, (slots - each.filled_BS.shape[1], 0)) for each in (self, other)]
            self.filled_BS = torch.cat(both)
            for layer, theirs in zip(_layers(self.past), _layers(other.past), strict=True):
                layer.keys = torch.cat([_aligned(layer.keys, slots), _aligned(theirs.keys, slots)])
                layer.values = torch.cat([_aligned(layer.values, slots), _aligned(theirs.values, slots)])
        self.lengths.append(other.length)

    def remove(self, row: int) -> None:
        """Forget a sequence, and the slots that no other one uses; see `JoinableCache`."""
        rows = list(range(len(self.lengths)))
        rows[row] = rows[-1]
        self.keep(rows[:-1])
        if not self.lengths:
            self.past = type(self.past)()
        self.filled_BS = self.filled_BS[:, self.filled_BS.shape[1] - self.length :]
        for layer in _layers(self.past):
            layer.keys, layer.values = layer.keys[:, :, -self.length :], layer.values[:, :, -self.length :]


def _aligned(memory_BGSE: Tensor, slots: int) -> Tensor:
    """Put empty slots before the first ones; they are zero, since masked ones are multiplied by zero."""
    return F.pad(memory_BGSE, (0, 0, slots - memory_BGSE.shape[2], 0))


def _layers(past: Any) -> list[Any]:
    """Layers that hold keys and values; of an encoder-decoder, for self- and cross-attention."""
    if hasattr(past, "self_attention_cache"):
        return [*_layers(past.self_attention_cache), *_layers(past.cross_attention_cache)]
    return [layer for layer in past.layers if layer.is_initialized]
