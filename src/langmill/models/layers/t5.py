"""Blocks in the shape of T5 1.1 (Raffel et al., 2020; Shazeer, 2020), with its parameter names, for encoder-decoders.

Pre-norm blocks with RMSNorm, no biases, a feed-forward network gated by GELU. Attention scores depend on
content and distance: a learned bias for each head and each bucket of distances is added to them; they are not divided
by sqrt(E), for which the initial query weights compensate.

    attention(q, k, v) = softmax(q k^T + b[bucket(position of k - position of q)]) v
    feed-forward(x)    = (GELU(x W_0) * (x W_1)) W_o

Shape suffixes: see `langmill.models.base`; S stands for source tokens, or for the positions attended to; W for the
width of all heads together.
"""

from __future__ import annotations

import math
from typing import Annotated, cast

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from langmill.config.constraints import Allowed, Share, require
from langmill.config.typed import settings
from langmill.models.layers.attention import attention_weights
from langmill.models.layers.cache import KeyValueCache
from langmill.models.layers.norm import RMSNorm
from langmill.models.layers.settings import AttentionSettings


@settings
class EncoderDecoderSettings(AttentionSettings):
    """Options of the architecture `encoder_decoder`; `num_layers` counts the encoder's blocks."""

    num_decoder_layers: PositiveInt
    """Blocks of the decoder."""
    num_buckets: Annotated[int, Allowed("a multiple of 4", lambda number: number >= 4 and number % 4 == 0)]
    """Buckets of distances between two tokens, an even number; half of them for single distances."""
    max_distance: int
    """Distance in tokens from which all share the last bucket."""
    dropout: Share
    """Share of the embeddings, of the attention's weights and of each block's outputs that is dropped in training, 0 to
    below 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        half = f"more than half of num_buckets ({self.num_buckets})"
        require(self.max_distance > self.num_buckets // 2, "max_distance", self.max_distance, half)


class Attention(nn.Module):
    """Multi-head self-attention or cross-attention; the first of a stack has the biases of distances."""

    def __init__(self, settings: EncoderDecoderSettings, *, distances: bool) -> None:
        super().__init__()
        self.head_dim = settings.head_dim
        self.dropout = settings.dropout
        self.q = nn.Linear(settings.dim, settings.dim, bias=False)
        self.k = nn.Linear(settings.dim, settings.dim, bias=False)
        self.v = nn.Linear(settings.dim, settings.dim, bias=False)
        self.o = nn.Linear(settings.dim, settings.dim, bias=False)
        if distances:
            self.relative_attention_bias = nn.Embedding(settings.num_buckets, settings.num_heads)

    def heads(self, x_BTW: Tensor) -> Tensor:
        """Split `(batch, length, heads * head_dim)` into heads, `(batch, heads, length, head_dim)`."""
        batch_size, num_tokens, _ = x_BTW.shape
        return x_BTW.view(batch_size, num_tokens, -1, self.head_dim).transpose(1, 2)

    def keys_and_values(self, x_BSD: Tensor) -> tuple[Tensor, Tensor]:
        """Compute keys and values, `(batch, heads, length, head_dim)` each."""
        return self.heads(self.k(x_BSD)), self.heads(self.v(x_BSD))

    def forward(self, x_BTD: Tensor, k_BHSE: Tensor, v_BHSE: Tensor, bias_BHTS: Tensor | None) -> Tensor:
        """Compute the output of attention; the bias is added to the scores (or, if boolean, masks them)."""
        y_BHTE = F.scaled_dot_product_attention(
            self.heads(self.q(x_BTD)),
            k_BHSE,
            v_BHSE,
            attn_mask=bias_BHTS,
            dropout_p=self.dropout if self.training else 0.0,
            scale=1.0,
        )
        return cast("Tensor", self.o(y_BHTE.transpose(1, 2).flatten(2)))

    def weights(self, x_BTD: Tensor, k_BHSE: Tensor, v_BHSE: Tensor, bias_BHTS: Tensor | None) -> Tensor:
        """Compute the attention weights of `forward` with the same arguments, `(batch, heads, T, S)`."""
        del v_BHSE
        return attention_weights(self.heads(self.q(x_BTD)), k_BHSE, bias_BHTS, 1.0)


class FeedForward(nn.Module):
    """A feed-forward network gated by GELU."""

    def __init__(self, settings: EncoderDecoderSettings) -> None:
        super().__init__()
        self.wi_0 = nn.Linear(settings.dim, settings.hidden_dim, bias=False)
        self.wi_1 = nn.Linear(settings.dim, settings.hidden_dim, bias=False)
        self.wo = nn.Linear(settings.hidden_dim, settings.dim, bias=False)
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Apply the network to every token."""
        hidden_BTF = F.gelu(self.wi_0(x_BTD), approximate="tanh") * self.wi_1(x_BTD)
        return cast("Tensor", self.wo(self.dropout(hidden_BTF)))


class SelfAttentionLayer(nn.Module):
    """Self-attention with pre-norm and residual connection."""

    def __init__(self, settings: EncoderDecoderSettings, *, distances: bool) -> None:
        super().__init__()
        self.SelfAttention = Attention(settings, distances=distances)
        self.layer_norm = RMSNorm(settings.dim, settings.norm_eps)
        self.dropout = nn.Dropout(settings.dropout)

    def forward(
        self,
        x_BTD: Tensor,
        bias_BHTS: Tensor | None,
        cache: KeyValueCache | None = None,
        layer: int = 0,
        places_BT: Tensor | None = None,
    ) -> Tensor:
        """Compute the residual stream after this layer; with a cache, the cached tokens are attended to as well."""
        normalised_BTD = self.layer_norm(x_BTD)
        k_BHSE, v_BHSE = self.SelfAttention.keys_and_values(normalised_BTD)
        if cache is not None:
            k_BHSE, v_BHSE = cache.store(layer, k_BHSE, v_BHSE, places_BT)
        return cast("Tensor", x_BTD + self.dropout(self.SelfAttention(normalised_BTD, k_BHSE, v_BHSE, bias_BHTS)))


class CrossAttentionLayer(nn.Module):
    """Cross-attention to the source, with pre-norm and residual connection."""

    def __init__(self, settings: EncoderDecoderSettings) -> None:
        super().__init__()
        self.EncDecAttention = Attention(settings, distances=False)
        self.layer_norm = RMSNorm(settings.dim, settings.norm_eps)
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, x_BTD: Tensor, k_BHSE: Tensor, v_BHSE: Tensor, mask_B11S: Tensor | None) -> Tensor:
        """Compute the residual stream after this layer."""
        return cast(
            "Tensor", x_BTD + self.dropout(self.EncDecAttention(self.layer_norm(x_BTD), k_BHSE, v_BHSE, mask_B11S))
        )


class FeedForwardLayer(nn.Module):
    """The feed-forward network, with pre-norm and residual connection."""

    def __init__(self, settings: EncoderDecoderSettings) -> None:
        super().__init__()
        self.DenseReluDense = FeedForward(settings)  # T5's name; the function is a gated GELU
        self.layer_norm = RMSNorm(settings.dim, settings.norm_eps)
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Compute the residual stream after this layer."""
        return cast("Tensor", x_BTD + self.dropout(self.DenseReluDense(self.layer_norm(x_BTD))))


class Block(nn.Module):
    """A block: two layers in an encoder, three in a decoder."""

    def __init__(self, settings: EncoderDecoderSettings, *, first: bool, decodes: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = [SelfAttentionLayer(settings, distances=first)]
        if decodes:
            layers.append(CrossAttentionLayer(settings))
        layers.append(FeedForwardLayer(settings))
        self.layer = nn.ModuleList(layers)

    @property
    def own(self) -> SelfAttentionLayer:
        """The self-attention layer."""
        return cast("SelfAttentionLayer", self.layer[0])

    @property
    def cross(self) -> CrossAttentionLayer:
        """The cross-attention layer; decoder only."""
        return cast("CrossAttentionLayer", self.layer[1])

    @property
    def feed_forward(self) -> FeedForwardLayer:
        """The feed-forward layer."""
        return cast("FeedForwardLayer", self.layer[-1])


class Stack(nn.Module):
    """The blocks of the encoder or of the decoder, and the final norm."""

    def __init__(self, settings: EncoderDecoderSettings, *, decodes: bool) -> None:
        super().__init__()
        self.settings = settings
        self.decodes = decodes
        count = settings.num_decoder_layers if decodes else settings.num_layers
        self.block = nn.ModuleList(Block(settings, first=not number, decodes=decodes) for number in range(count))
        self.final_layer_norm = RMSNorm(settings.dim, settings.norm_eps)
        self.dropout = nn.Dropout(settings.dropout)

    @property
    def blocks(self) -> list[Block]:
        """The blocks, in order."""
        return [cast("Block", block) for block in self.block]

    def bias(self, num_tokens: int, device: torch.device, start: int = 0) -> Tensor:
        """Compute the bias of the scores by distance, `(1, heads, T, S)`; a decoder's masks later positions.

        The queries are the positions from `start` on, the keys those from 0 on.
        """
        return self.bias_at(torch.arange(start, start + num_tokens, device=device)[None], start + num_tokens)

    def bias_at(self, places_BT: Tensor, num_keys: int) -> Tensor:
        """Compute the same, `(batch, heads, T, S)`, for queries at these positions and keys at those from 0 on."""
        settings = self.settings
        distances_BTS = torch.arange(num_keys, device=places_BT.device) - places_BT[:, :, None]
        buckets_BTS = bucket(distances_BTS, settings.num_buckets, settings.max_distance, bidirectional=not self.decodes)
        weights_BTSH: Tensor = self.blocks[0].own.SelfAttention.relative_attention_bias(buckets_BTS)
        bias_BHTS = weights_BTSH.permute(0, 3, 1, 2)
        return bias_BHTS.masked_fill(distances_BTS[:, None] > 0, -torch.inf) if self.decodes else bias_BHTS


def bucket(distances: Tensor, num_buckets: int, max_distance: int, *, bidirectional: bool) -> Tensor:
    """Assign each distance to a bucket (Raffel et al., 2020, section 2.1, in the form of Mesh TensorFlow).

    Half of the buckets are for single distances, the others grow logarithmically up to `max_distance`, from which all
    share the last.

    Args:
        distances: Key position minus query position; any shape, int64.
        num_buckets: Number of buckets.
        max_distance: In tokens.
        bidirectional: Use half of the buckets for later positions; else those count as distance 0.
    """
    first = torch.zeros_like(distances)
    if bidirectional:
        num_buckets //= 2
        first = (distances > 0) * num_buckets
        away = distances.abs()
    else:
        away = (-distances).clamp(min=0)
    exact = num_buckets // 2
    growth = torch.log(away.clamp(min=1).float() / exact) / math.log(max_distance / exact) * (num_buckets - exact)
    far = (exact + growth.to(torch.int64)).clamp(max=num_buckets - 1)
    return first + torch.where(away < exact, away, far)
