"""Blocks in Llama's shape (Touvron et al., 2023), for decoders and encoders.

Pre-norm blocks with RMSNorm, rotary positions (Su et al., 2021, in Hugging Face's half-split form), grouped-query
attention (Ainslie et al., 2023) and SwiGLU (Shazeer, 2020); biases only where a published model has them. Shape
suffixes: see `langmill.models.base`; S stands for the positions attended to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, cast

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from langmill.config.constraints import require
from langmill.config.typed import settings
from langmill.models.functions import rotate
from langmill.models.layers.attention import attention_weights
from langmill.models.layers.cache import KeyValueCache
from langmill.models.layers.norm import RMSNorm
from langmill.models.layers.settings import AttentionSettings


@dataclass(frozen=True)
class BlockShape:
    """What the blocks are built from: a recipe's options, or the config.json of a published model."""

    dim: int
    """Width of a hidden state."""
    num_layers: int
    num_heads: int
    """Attention heads."""
    num_kv_heads: int
    """Heads of keys and values."""
    head_dim: int
    """Width of one head; an even number."""
    hidden_dim: int
    """Width inside the feed-forward network."""
    norm_eps: float
    """Added to the mean square in RMSNorm."""
    frequencies: tuple[float, ...]
    """The rotary positions' angle per token of each pair of dimensions, head_dim / 2 numbers that float32 holds."""
    dropout: float = 0.0
    """Share of the embedding and of each block's outputs that is dropped in training."""
    qkv_bias: bool = False
    """Whether queries, keys and values have a bias."""
    output_bias: bool = False
    """Whether the output of attention has one."""
    mlp_bias: bool = False
    """Whether the feed-forward network's matrices have one."""


@settings
class TransformerSettings(AttentionSettings):
    """Options of the architectures `decoder` and `encoder`."""

    num_kv_heads: PositiveInt
    """Heads of keys and values, each shared by num_heads / num_kv_heads attention heads."""
    rope_theta: Annotated[float, Field(gt=1)]
    """Base of the rotary positions' wavelengths."""

    def __post_init__(self) -> None:
        super().__post_init__()
        heads = f"num_heads ({self.num_heads})"
        even = f"an even multiple of {heads}, since rotary positions rotate pairs of dimensions"
        require(self.head_dim % 2 == 0, "dim", self.dim, even)
        require(self.num_heads % self.num_kv_heads == 0, "num_kv_heads", self.num_kv_heads, f"a divisor of {heads}")

    @property
    def shape(self) -> BlockShape:
        """The shape of the blocks."""
        return BlockShape(
            dim=self.dim,
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            num_kv_heads=self.num_kv_heads,
            head_dim=self.head_dim,
            hidden_dim=self.hidden_dim,
            norm_eps=self.norm_eps,
            frequencies=tuple(rotary_frequencies(self.rope_theta, self.head_dim).tolist()),
            dropout=self.dropout,
        )


@dataclass
class Positions:
    """Positions of a forward pass's tokens and the mask between them, computed once for all layers."""

    rotary_q: tuple[Tensor, Tensor]
    """Rotary cos and sin of the queries, `(T, H, E)`; `(T, 1, E)` or `(B, T, 1, E)` with a cache."""
    rotary_k: tuple[Tensor, Tensor]
    """Rotary cos and sin of the keys: the same with G for H."""
    cache: KeyValueCache | None = None
    places: Tensor | None = None
    """Positions of the tokens in the cache, `(B, T)`; None where all sequences have one length."""
    mask: Tensor | None = None
    """`(B or 1, 1, T, S)`, true where a query may attend, or added to the scores; None where `causal` says all."""
    causal: bool = True


class Attention(nn.Module):
    """Grouped-query self-attention with rotary positions."""

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        self.head_dim = shape.head_dim
        q_dim, kv_dim = (heads * shape.head_dim for heads in (shape.num_heads, shape.num_kv_heads))
        self.grouped = shape.num_kv_heads < shape.num_heads
        self.q_proj = nn.Linear(shape.dim, q_dim, bias=shape.qkv_bias)
        self.k_proj = nn.Linear(shape.dim, kv_dim, bias=shape.qkv_bias)
        self.v_proj = nn.Linear(shape.dim, kv_dim, bias=shape.qkv_bias)
        self.o_proj = nn.Linear(q_dim, shape.dim, bias=shape.output_bias)

    def forward(self, x_BTD: Tensor, positions: Positions, layer: int) -> Tensor:
        """Compute the output `(batch, length, dim)` of attention."""
        q_BHTE, k_BGTE = self._queries_and_keys(x_BTD, positions)
        v_BGTE = self.v_proj(x_BTD).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
        if positions.cache is not None:
            k_BGTE, v_BGTE = positions.cache.store(layer, k_BGTE, v_BGTE, positions.places)
        if self.grouped and x_BTD.shape[1] == 1 and not positions.causal:
            # The heads that share keys take the place of the tokens: their keys are read once.
            q_BGHE = q_BHTE.reshape(len(q_BHTE), k_BGTE.shape[1], -1, self.head_dim)
            y_BGHE = F.scaled_dot_product_attention(q_BGHE, k_BGTE, v_BGTE, attn_mask=positions.mask)
            return cast("Tensor", self.o_proj(y_BGHE.reshape(len(q_BHTE), 1, -1)))
        y_BHTE = F.scaled_dot_product_attention(
            q_BHTE, k_BGTE, v_BGTE, attn_mask=positions.mask, is_causal=positions.causal, enable_gqa=self.grouped
        )
        return cast("Tensor", self.o_proj(y_BHTE.transpose(1, 2).flatten(2)))

    def weights(self, x_BTD: Tensor, positions: Positions, layer: int) -> Tensor:
        """Compute the attention weights of `forward` without a cache, `(batch, heads, T, T)`."""
        del layer
        q_BHTE, k_BGTE = self._queries_and_keys(x_BTD, positions)
        k_BHTE = k_BGTE.repeat_interleave(q_BHTE.shape[1] // k_BGTE.shape[1], dim=1)
        mask = positions.mask
        if positions.causal:
            mask = torch.ones(x_BTD.shape[1], x_BTD.shape[1], dtype=torch.bool, device=x_BTD.device).tril()
        return attention_weights(q_BHTE, k_BHTE, mask, 1.0 / math.sqrt(self.head_dim))

    def _queries_and_keys(self, x_BTD: Tensor, positions: Positions) -> tuple[Tensor, Tensor]:
        q_BTHE = self.q_proj(x_BTD).unflatten(-1, (-1, self.head_dim))
        k_BTGE = self.k_proj(x_BTD).unflatten(-1, (-1, self.head_dim))
        return rotate(q_BTHE, *positions.rotary_q).transpose(1, 2), rotate(k_BTGE, *positions.rotary_k).transpose(1, 2)


class FeedForward(nn.Module):
    """SwiGLU: a gated feed-forward network."""

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.dim, shape.hidden_dim, bias=shape.mlp_bias)
        self.up_proj = nn.Linear(shape.dim, shape.hidden_dim, bias=shape.mlp_bias)
        self.down_proj = nn.Linear(shape.hidden_dim, shape.dim, bias=shape.mlp_bias)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Apply the network to every token."""
        return cast("Tensor", self.down_proj(F.silu(self.gate_proj(x_BTD)) * self.up_proj(x_BTD)))


class Block(nn.Module):
    """Attention and feed-forward network with pre-norm and residual connections."""

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(shape.dim, shape.norm_eps)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = RMSNorm(shape.dim, shape.norm_eps)
        self.mlp = FeedForward(shape)
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, x_BTD: Tensor, positions: Positions, layer: int) -> Tensor:
        """Compute the residual stream `(batch, length, dim)` after this block."""
        if not self.training:  # two calls less, which count where a token is decoded
            x_BTD = x_BTD + self.self_attn(self.input_layernorm(x_BTD), positions, layer)
            return cast("Tensor", x_BTD + self.mlp(self.post_attention_layernorm(x_BTD)))
        x_BTD = x_BTD + self.dropout(self.self_attn(self.input_layernorm(x_BTD), positions, layer))
        return cast("Tensor", x_BTD + self.dropout(self.mlp(self.post_attention_layernorm(x_BTD))))


def rotary_frequencies(theta: float, head_dim: int) -> Tensor:
    """Compute the rotary positions' angle per token of each pair of dimensions, `(head_dim / 2,)` in float32."""
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32, device="cpu") / head_dim
    return 1.0 / theta**exponents


def rotary_tables(shape: BlockShape, length: int) -> tuple[Tensor, Tensor]:
    """Compute cos and sin of the rotary positions, `(length, head_dim)` each, in float32.

    The first half of the sines is negated, so that a rotation is `x * cos + swapped(x) * sin` (see `rotate`).
    """
    frequencies = torch.tensor(shape.frequencies, dtype=torch.float32, device="cpu")
    angles = torch.outer(torch.arange(length, dtype=torch.float32, device="cpu"), frequencies)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)
