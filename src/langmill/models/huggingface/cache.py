"""The cache of a model of `transformers`, behind our interface.

The sequences of a batch may have unequal lengths: new tokens take the same slots in all rows, and a mask says which
slots of a row hold a token. Shape suffixes: see `langmill.models.base`; S stands for the slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

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


def _layers(past: Any) -> list[Any]:
    """Layers that hold keys and values; of an encoder-decoder, for self- and cross-attention."""
    if hasattr(past, "self_attention_cache"):
        return [*_layers(past.self_attention_cache), *_layers(past.cross_attention_cache)]
    return [layer for layer in past.layers if layer.is_initialized]
