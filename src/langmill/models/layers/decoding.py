"""Blocks in Llama's shape, prepared for the steps of decoding: one new token of each sequence, in few calls.

A small network's step waits for calls, not for memory or arithmetic. So the functions of `langmill.models.layers.llama`
are computed on matrices `(sequences, dim)` and without modules, matrices that read the same input are one, and the
views of each layer's memory are made once for all layers. Shape suffixes: see `langmill.models.base`; S stands for the
positions attended to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from langmill.models.functions import rotate
from langmill.models.layers.cache import KeyValueCache
from langmill.models.layers.joined import Joined
from langmill.models.layers.llama import Block
from langmill.models.layers.norm import RMSNorm


@dataclass
class Step:
    """What the layers of one step have in common."""

    rotary: tuple[Tensor, Tensor]
    """Rotary cos and sin of the new tokens' positions, `(B or 1, 1, E)`."""
    mask_B11S: Tensor | None
    """Added to the scores; None where all sequences have one length."""
    memory: Sequence[tuple[Tensor, Tensor]]
    """Keys and values of each layer, `(B, G, S, E)`, the new token's place included."""
    places: Sequence[tuple[Tensor, Tensor]]
    """Where each layer's new keys and values are written: `(B, G, E)`, or with an index all rows `(places, E)`."""
    index_N: Tensor | None
    """The places of the new token of each sequence and head in these rows; None where all sequences have one length."""

    @classmethod
    def of(cls, cache: KeyValueCache, cos_SE: Tensor, sin_SE: Tensor) -> Self:
        """Prepare for the next token of each of a cache's sequences, all of which have at least one."""
        lengths, start = cache.lengths, cache.length
        rows, end = len(lengths), start + 1
        both = cache.keys_LBGSE, cache.values_LBGSE
        memory = list(zip(*(part[:, :rows, :, :end].unbind(0) for part in both), strict=True))
        if min(lengths) == start:
            places = list(zip(*(part[:, :rows, :, start].unbind(0) for part in both), strict=True))
            return cls((cos_SE[start:end, None], sin_SE[start:end, None]), None, memory, places, None)
        places_B = torch.tensor(lengths, device=cos_SE.device)
        rotary = cos_SE.index_select(0, places_B)[:, None], sin_SE.index_select(0, places_B)[:, None]
        places_B1 = places_B[:, None]
        hidden_BS = torch.arange(end, device=cos_SE.device) > places_B1
        mask_BS = torch.zeros(hidden_BS.shape, dtype=both[0].dtype, device=cos_SE.device)
        mask_BS.masked_fill_(hidden_BS, -torch.inf)
        groups, capacity, head_dim = both[0].shape[2:]
        index_BG = torch.arange(rows * groups, device=cos_SE.device).view(rows, groups) * capacity + places_B1
        flat = list(zip(*(part.view(len(part), -1, head_dim).unbind(0) for part in both), strict=True))
        return cls(rotary, mask_BS[:, None, None], memory, flat, index_BG.flatten())

    def store(self, layer: int, k_BGE: Tensor, v_BGE: Tensor) -> None:
        """Write a layer's new keys and values."""
        for place, new in zip(self.places[layer], (k_BGE, v_BGE), strict=True):
            if self.index_N is None:
                place.copy_(new)
            else:
                place.index_copy_(0, self.index_N, new.reshape(len(self.index_N), -1))


class DecodingBlock:
    """One block; see `langmill.models.layers.llama.Block`.

    The residual stream x is kept as z = (x, -x): the mean of z is 0 and its variance the mean square of x, so that one
    call of LayerNorm is RMSNorm of x, which takes six.
    """

    def __init__(self, block: Block) -> None:
        attention, mlp = block.self_attn, block.mlp
        self._block = block
        self._head_dim = attention.head_dim
        self._qkv = Joined([attention.q_proj, attention.k_proj, attention.v_proj])
        self._output = Joined([attention.o_proj])
        self._gate_up = Joined([mlp.gate_proj, mlp.up_proj])
        self._down = Joined([mlp.down_proj])
        self._attention_norm = DoubledNorm(block.input_layernorm)
        self._mlp_norm = DoubledNorm(block.post_attention_layernorm)

    @property
    def valid(self) -> bool:
        """Whether the block still computes with what it was made of: weights may have been moved, layers replaced."""
        block, attention, mlp = self._block, self._block.self_attn, self._block.mlp
        return (
            self._qkv.is_of((attention.q_proj, attention.k_proj, attention.v_proj))
            and self._output.is_of((attention.o_proj,))
            and self._gate_up.is_of((mlp.gate_proj, mlp.up_proj))
            and self._down.is_of((mlp.down_proj,))
            and self._attention_norm.is_of(block.input_layernorm)
            and self._mlp_norm.is_of(block.post_attention_layernorm)
        )

    def __call__(self, z: DoubledStream, step: Step, layer: int) -> None:
        """Add the block's outputs to the residual stream."""
        keys_BGSE, values_BGSE = step.memory[layer]
        batch_size, groups = keys_BGSE.shape[:2]
        x_BHE = self._qkv(self._attention_norm(z)).view(batch_size, -1, self._head_dim)
        turned = x_BHE.shape[1] - groups
        turned_BHE = rotate(x_BHE.narrow(1, 0, turned), *step.rotary)
        step.store(layer, turned_BHE.narrow(1, turned - groups, groups), x_BHE.narrow(1, turned, groups))
        # The heads that share keys take the place of the tokens: their keys are read once.
        q_BGHE = turned_BHE.narrow(1, 0, turned - groups).view(batch_size, groups, -1, self._head_dim)
        y_BGHE = F.scaled_dot_product_attention(q_BGHE, keys_BGSE, values_BGSE, attn_mask=step.mask_B11S)
        z.add(self._output, y_BGHE.reshape(batch_size, -1))
        gate_BF, up_BF = self._gate_up(self._mlp_norm(z)).chunk(2, dim=-1)
        z.add(self._down, F.silu(gate_BF).mul_(up_BF))


class DoubledStream:
    """A residual stream x, kept as z = (x, -x); see `DecodingBlock`."""

    def __init__(self, x_BD: Tensor) -> None:
        self.z_BZ = torch.cat([x_BD, -x_BD], dim=1)
        self._x_BD, self._minus_BD = self.z_BZ.chunk(2, dim=1)

    def add(self, layer: Joined, y_BF: Tensor) -> None:
        """Add `layer(y)` to x."""
        layer.add_to(self._x_BD, y_BF)
        torch.neg(self._x_BD, out=self._minus_BD)


class DoubledNorm:
    """RMSNorm of x as LayerNorm of (x, -x); see `DecodingBlock`."""

    def __init__(self, norm: RMSNorm) -> None:
        weight_D = norm.weight.detach()
        self._eps, self._dim = norm.eps, len(weight_D)
        self._weight_Z = torch.cat([weight_D, weight_D])  # the second half is not looked at
        norm.weight.data = self._weight_Z[: self._dim]

    def is_of(self, norm: RMSNorm) -> bool:
        """Whether it is the norm that this was made of, with its weights where they were."""
        return norm.weight.data_ptr() == self._weight_Z.data_ptr()

    def __call__(self, z: DoubledStream) -> Tensor:
        """Normalise x, `(batch, dim)`."""
        norm_BZ = torch.native_layer_norm(z.z_BZ, self._weight_Z.shape, self._weight_Z, None, self._eps)[0]
        return norm_BZ.narrow(1, 0, self._dim)
