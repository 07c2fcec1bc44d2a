"""A causal decoder in Llama's shape, with Hugging Face's parameter names.

The blocks are those of `langmill.models.layers.llama`. Shape suffixes: see `langmill.models.base`; S stands for the
positions in a cache.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from langmill.models.base import ARCHITECTURES, Cache, Kind, own_cache, refuse_length
from langmill.models.layers.cache import KeyValueCache
from langmill.models.layers.decoding import DecodingBlock, DoubledNorm, DoubledStream, Step
from langmill.models.layers.llama import Block, BlockShape, Positions
from langmill.models.transformer import Transformer


@ARCHITECTURES.register("decoder")
class Decoder(Transformer):
    """A Transformer with causal attention."""

    kind = Kind.causal
    joins = True
    language_model = "LlamaForCausalLM"
    model_type = "llama"

    def _make(self, shape: BlockShape) -> None:
        super()._make(shape)
        self._decoding: list[DecodingBlock] = []
        self._last_norm: DoubledNorm | None = None

    def prepare_for_inference(self) -> None:
        """Prepare the blocks for steps of one token of each sequence; see `Backbone`."""
        self._decoding = [DecodingBlock(cast("Block", layer)) for layer in self.layers]
        self._last_norm = DoubledNorm(self.norm)

    def forward(self, tokens_BT: Tensor, lengths_B: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        """Compute the hidden states `(batch, length, dim)` after the last norm; see `Backbone.forward`.

        Without a cache `lengths_B` is not needed: no real token attends to padding, which is at the end. Raises
        ModelError where a sequence is longer than `max_length` or than the cache has room for.
        """
        if cache is not None and self._is_step(tokens_BT, cache):
            x_BTD = self._step(tokens_BT, own_cache(cache, KeyValueCache, len(tokens_BT)))
        else:
            x_BTD = self.run(tokens_BT, self._positions(tokens_BT, cache))
        if cache is not None:
            cache.advance(tokens_BT.shape[1], lengths_B)
        return x_BTD

    def _is_step(self, tokens_BT: Tensor, cache: Cache) -> bool:
        """Whether the prepared blocks can read these tokens."""
        if self._last_norm is None or tokens_BT.shape[1] > 1 or self.training or torch.is_grad_enabled():
            return False
        return min(cache.lengths) > 0 and not torch.is_autocast_enabled(tokens_BT.device.type)

    def _step(self, tokens_B1: Tensor, cache: KeyValueCache) -> Tensor:
        refuse_length(cache.length + 1, cache.capacity)
        step = Step.of(cache, self.cos_SE, self.sin_SE)
        stream = DoubledStream(self.embed_tokens.weight.index_select(0, tokens_B1[:, 0]))
        for number, block in enumerate(self._decoding):
            block(stream, step, number)
        assert self._last_norm is not None
        return self._last_norm(stream)[:, None]

    def _positions(self, tokens_BT: Tensor, cache: Cache | None) -> Positions:
        batch_size, num_tokens = tokens_BT.shape
        if cache is None:
            refuse_length(num_tokens, self.max_length)
            return Positions(*self.rotary(num_tokens))
        cache = own_cache(cache, KeyValueCache, batch_size)
        start = cache.length
        end = start + num_tokens
        refuse_length(end, cache.capacity)
        if min(cache.lengths) == start:
            rotary = self.cos_SE[start:end, None], self.sin_SE[start:end, None]
            positions = Positions(rotary, rotary, cache, causal=start == 0)
            if start > 0 and num_tokens > 1:
                positions.mask = torch.ones(num_tokens, end, dtype=torch.bool, device=tokens_BT.device).tril(start)
            return positions
        steps_T = torch.arange(num_tokens, device=tokens_BT.device)
        places_BT = torch.tensor(cache.lengths, device=tokens_BT.device)[:, None] + steps_T
        mask_B1TS = (torch.arange(end, device=tokens_BT.device) <= places_BT[:, :, None])[:, None]
        if num_tokens == 1:  # what is added to the scores; from a boolean mask every layer would make it anew
            zeros = torch.zeros(mask_B1TS.shape, dtype=self.embed_tokens.weight.dtype, device=tokens_BT.device)
            mask_B1TS = zeros.masked_fill_(~mask_B1TS, -torch.inf)
        rotary = self.cos_SE[places_BT][:, :, None], self.sin_SE[places_BT][:, :, None]
        return Positions(rotary, rotary, cache, places_BT, mask_B1TS, causal=False)

    def new_cache(self, batch_size: int, capacity: int | None = None) -> KeyValueCache:
        """Make an empty cache for `batch_size` sequences of at most `capacity` tokens (None: `max_length`).

        While it is in use weights may change in place, but no layer may be replaced.
        """
        if self._last_norm is not None and not (
            self._last_norm.is_of(self.norm) and all(block.valid for block in self._decoding)
        ):
            self._decoding, self._last_norm = [], None
        capacity = self.max_length if capacity is None else min(capacity, self.max_length)
        weight, shape = self.embed_tokens.weight, self.shape
        size = (shape.num_layers, batch_size, shape.num_kv_heads, capacity, shape.head_dim)
        return KeyValueCache(weight.new_zeros(size), weight.new_zeros(size), [0] * batch_size)
