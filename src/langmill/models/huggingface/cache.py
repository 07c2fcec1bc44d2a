"""The cache of a model of `transformers`, behind our interface.

The sequences of a batch may have unequal lengths: new tokens take the same slots in all rows, and a mask says which
slots of a row hold a token. Shape suffixes: see `langmill.models.base`; S stands for the slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from langmill.errors import ModelError
from langmill.models.base import Cache


class PastKeyValues(Cache):
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

    @property
    def length(self) -> int:
        """Tokens seen of the longest sequence."""
        return max(self.lengths, default=0)

    @property
    def num_slots(self) -> int:
        """Slots of every row, with a token or padding."""
        return self.filled_BS.shape[1]

    def record(self, filled_BT: Tensor) -> None:
        """Record that the network has read new tokens, where `filled_BT` is true."""
        self.filled_BS = torch.cat([self.filled_BS, filled_BT], dim=1)
        self.lengths = [old + int(new) for old, new in zip(self.lengths, filled_BT.sum(dim=1), strict=True)]

    def keep(self, rows: Sequence[int]) -> None:
        """Keep these sequences only, in this order."""
        index = torch.tensor(rows, dtype=torch.long, device=self.filled_BS.device)
        for layer in _layers(self.past):
            layer.keys, layer.values = layer.keys.index_select(0, index), layer.values.index_select(0, index)
        self.filled_BS = self.filled_BS.index_select(0, index)
        if self.memory is not None:
            self.memory = (self.memory[0].index_select(0, index), self.memory[1].index_select(0, index))
        self.lengths = [self.lengths[row] for row in rows]

    def append(self, other: Cache) -> None:
        """Append the sequences of another cache.

        Raises:
            ModelError: The other cache is of another network, or of an encoder-decoder whose targets have another
                length.
        """
        alike = isinstance(other, PastKeyValues) and len(_layers(self.past)) == len(_layers(other.past))
        if not alike or not isinstance(other, PastKeyValues) or (self.memory is None) != (other.memory is None):
            raise ModelError("Two caches can be joined only if they come from one network and both have read a text.")
        if self.memory is not None and other.memory is not None:
            if self.num_slots != other.num_slots:
                raise ModelError("Two caches of an encoder-decoder can be joined only if targets are equally long.")
            self.memory = (_joined(self.memory[0], other.memory[0], 1), _joined(self.memory[1], other.memory[1], 1))
        for mine, theirs in zip(_layers(self.past), _layers(other.past), strict=True):
            mine.keys, mine.values = _joined(mine.keys, theirs.keys, 2), _joined(mine.values, theirs.values, 2)
        self.filled_BS = _joined(self.filled_BS, other.filled_BS, 1)
        self.lengths = self.lengths + other.lengths


def _layers(past: Any) -> list[Any]:
    """Layers that hold keys and values; of an encoder-decoder, for self- and cross-attention."""
    if hasattr(past, "self_attention_cache"):
        return [*_layers(past.self_attention_cache), *_layers(past.cross_attention_cache)]
    return [layer for layer in past.layers if layer.is_initialized]


def _joined(first: Tensor, second: Tensor, dim: int) -> Tensor:
    """Concatenate two batches, the shorter padded with zeros at the end of `dim`."""
    longest = max(first.shape[dim], second.shape[dim])

    def padded(x: Tensor) -> Tensor:
        missing = longest - x.shape[dim]
        return F.pad(x, [0, 0] * (x.dim() - dim - 1) + [0, missing]) if missing else x

    return torch.cat([padded(first), padded(second)])
