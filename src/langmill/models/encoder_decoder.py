"""An encoder-decoder Transformer in the shape of T5 1.1 (Raffel et al., 2020; Shazeer, 2020), with its parameter names.

Pre-norm blocks with RMSNorm, no biases, a feed-forward network gated by GELU. Attention weighs by content and by
distance: a learned number for each head and each bucket of distances is added to the scores; scores are not divided by
sqrt(E), which the queries' first weights take care of. Source and target share one embedding.

    attention(q, k, v) = softmax(q k^T + b[bucket(place of k - place of q)]) v
    feed-forward(x)    = (GELU(x W_0) * (x W_1)) W_o

Shape suffixes: see `langmill.models.base`; S stands for source tokens, or for the places that are looked at; W for the
width of all heads together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from langmill.config.sections import require
from langmill.errors import ModelError
from langmill.models.base import ARCHITECTURES, EMBEDDING_STD, Cache, EncoderDecoder, head_std
from langmill.models.folder import load_state, load_weights
from langmill.models.transformer import KeyValueCache, RMSNorm, attention_weights, watched


@dataclass
class EncoderDecoderSettings:
    """Options of the architecture `encoder_decoder`."""

    dim: int
    """Width of a hidden state."""
    num_layers: int
    """Blocks of the encoder."""
    num_decoder_layers: int
    """Blocks of the decoder."""
    num_heads: int
    """Attention heads; each is dim / num_heads wide."""
    hidden_dim: int
    """Width inside the feed-forward network."""
    num_buckets: int
    """Buckets of distances between two tokens, an even number; half of them for single distances."""
    max_distance: int
    """Distance in tokens from which all share the last bucket."""
    norm_eps: float
    """Added to the mean square in RMSNorm."""
    tie_embeddings: bool
    """Whether the head is the embedding itself."""
    dropout: float
    """Share of the embeddings, of the attention's weights and of each block's outputs that is dropped in training, 0 to
    below 1."""

    def __post_init__(self) -> None:
        for field in ("dim", "num_layers", "num_decoder_layers", "num_heads", "hidden_dim"):
            value = getattr(self, field)
            require(value >= 1, f"model.options.{field}", value, "1 or more")
        require(
            self.dim % self.num_heads == 0,
            "model.options.dim",
            self.dim,
            f"a multiple of num_heads ({self.num_heads})",
        )
        require(
            self.num_buckets >= 4 and self.num_buckets % 4 == 0,
            "model.options.num_buckets",
            self.num_buckets,
            "a multiple of 4",
        )
        require(
            self.max_distance > self.num_buckets // 2,
            "model.options.max_distance",
            self.max_distance,
            f"more than half of num_buckets ({self.num_buckets})",
        )
        require(0 < self.norm_eps < 1, "model.options.norm_eps", self.norm_eps, "above 0 and below 1")
        require(0 <= self.dropout < 1, "model.options.dropout", self.dropout, "0 to below 1")

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.dim // self.num_heads


class EncoderDecoderCache(KeyValueCache):
    """Keys and values of the target tokens seen, and those of the source, which never change.

    Attributes:
        source_keys_LBHSE: Keys of the source in each block of the decoder.
        source_values_LBHSE: Values.
        source_mask_B11S: True at real source tokens.
    """

    def __init__(
        self,
        keys_LBHSE: Tensor,
        values_LBHSE: Tensor,
        lengths: list[int],
        source: tuple[Tensor, Tensor],
        source_mask_B11S: Tensor,
    ) -> None:
        super().__init__(keys_LBHSE, values_LBHSE, lengths)
        self.source_keys_LBHSE, self.source_values_LBHSE = source
        self.source_mask_B11S = source_mask_B11S

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all sequences but these, and put these in this order."""
        super().keep(rows)
        index = torch.tensor(rows, dtype=torch.long, device=self.source_keys_LBHSE.device)
        self.source_keys_LBHSE = self.source_keys_LBHSE.index_select(1, index)
        self.source_values_LBHSE = self.source_values_LBHSE.index_select(1, index)
        self.source_mask_B11S = self.source_mask_B11S.index_select(0, index)

    def append(self, other: Cache) -> None:
        """Take in the sequences of another cache, after one's own; shorter sources are padded.

        Raises:
            ModelError: The other cache is of another network or has another capacity.
        """
        if not isinstance(other, EncoderDecoderCache):
            raise ModelError("Two caches can be joined only if they come from one network and have one capacity.")
        super().append(other)
        longest = max(self.source_mask_B11S.shape[-1], other.source_mask_B11S.shape[-1])

        def joined(own: Tensor, others: Tensor, places: int, batch: int) -> Tensor:
            return torch.cat(
                [F.pad(each, (0, 0) * places + (0, longest - each.shape[-1 - places])) for each in (own, others)], batch
            )

        self.source_keys_LBHSE = joined(self.source_keys_LBHSE, other.source_keys_LBHSE, 1, 1)
        self.source_values_LBHSE = joined(self.source_values_LBHSE, other.source_values_LBHSE, 1, 1)
        self.source_mask_B11S = joined(self.source_mask_B11S, other.source_mask_B11S, 0, 0)


class Attention(nn.Module):
    """Multi-head attention to one's own sequence or another one; the first of a stack has the distances' weights."""

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
        """`(batch, tokens, heads x E)` cut into heads, `(batch, heads, tokens, E)`."""
        batch_size, num_tokens, _ = x_BTW.shape
        return x_BTW.view(batch_size, num_tokens, -1, self.head_dim).transpose(1, 2)

    def keys_and_values(self, x_BSD: Tensor) -> tuple[Tensor, Tensor]:
        """What can be read of some tokens, `(batch, heads, tokens, E)` each."""
        return self.heads(self.k(x_BSD)), self.heads(self.v(x_BSD))

    def forward(self, x_BTD: Tensor, k_BHSE: Tensor, v_BHSE: Tensor, bias_BHTS: Tensor | None) -> Tensor:
        """What each token reads; the bias is added to the scores (or, of truth values, says what may be read)."""
        y_BHTE = F.scaled_dot_product_attention(
            self.heads(self.q(x_BTD)),
            k_BHSE,
            v_BHSE,
            attn_mask=bias_BHTS,
            dropout_p=self.dropout if self.training else 0.0,
            scale=1.0,
        )
        y_BTD: Tensor = self.o(y_BHTE.transpose(1, 2).flatten(2))
        return y_BTD

    def weights(self, x_BTD: Tensor, k_BHSE: Tensor, v_BHSE: Tensor, bias_BHTS: Tensor | None) -> Tensor:
        """The weights with which `forward` of the same arguments mixes the values, `(batch, heads, T, S)`."""
        del v_BHSE
        return attention_weights(self.heads(self.q(x_BTD)), k_BHSE, bias_BHTS, 1.0)


class FeedForward(nn.Module):
    """A network of two layers, gated by GELU."""

    def __init__(self, settings: EncoderDecoderSettings) -> None:
        super().__init__()
        self.wi_0 = nn.Linear(settings.dim, settings.hidden_dim, bias=False)
        self.wi_1 = nn.Linear(settings.dim, settings.hidden_dim, bias=False)
        self.wo = nn.Linear(settings.hidden_dim, settings.dim, bias=False)
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """The same function of every token."""
        hidden_BTF = F.gelu(self.wi_0(x_BTD), approximate="tanh") * self.wi_1(x_BTD)
        y_BTD: Tensor = self.wo(self.dropout(hidden_BTF))
        return y_BTD


class SelfAttentionLayer(nn.Module):
    """Self-attention, added to the stream that it reads normalised."""

    def __init__(self, settings: EncoderDecoderSettings, *, distances: bool) -> None:
        super().__init__()
        self.SelfAttention = Attention(settings, distances=distances)
        self.layer_norm = RMSNorm(settings.dim, settings.norm_eps)
        self.dropout = nn.Dropout(settings.dropout)

    def forward(
        self, x_BTD: Tensor, bias_BHTS: Tensor | None, cache: KeyValueCache | None = None, layer: int = 0
    ) -> Tensor:
        """The stream after this layer; with a cache the earlier tokens are read too."""
        normalised_BTD = self.layer_norm(x_BTD)
        k_BHSE, v_BHSE = self.SelfAttention.keys_and_values(normalised_BTD)
        if cache is not None:
            k_BHSE, v_BHSE = _remember(cache, layer, k_BHSE, v_BHSE)
        x_BTD = x_BTD + self.dropout(self.SelfAttention(normalised_BTD, k_BHSE, v_BHSE, bias_BHTS))
        return x_BTD


class CrossAttentionLayer(nn.Module):
    """Attention to the source, added to the stream that it reads normalised."""

    def __init__(self, settings: EncoderDecoderSettings) -> None:
        super().__init__()
        self.EncDecAttention = Attention(settings, distances=False)
        self.layer_norm = RMSNorm(settings.dim, settings.norm_eps)
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, x_BTD: Tensor, k_BHSE: Tensor, v_BHSE: Tensor, mask_B11S: Tensor | None) -> Tensor:
        """The stream after this layer."""
        x_BTD = x_BTD + self.dropout(self.EncDecAttention(self.layer_norm(x_BTD), k_BHSE, v_BHSE, mask_B11S))
        return x_BTD


class FeedForwardLayer(nn.Module):
    """The feed-forward network, added to the stream that it reads normalised."""

    def __init__(self, settings: EncoderDecoderSettings) -> None:
        super().__init__()
        self.DenseReluDense = FeedForward(settings)  # T5's name; the function is a gated GELU
        self.layer_norm = RMSNorm(settings.dim, settings.norm_eps)
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """The stream after this layer."""
        x_BTD = x_BTD + self.dropout(self.DenseReluDense(self.layer_norm(x_BTD)))
        return x_BTD


class Block(nn.Module):
    """The layers of one block: an encoder's two or a decoder's three."""

    def __init__(self, settings: EncoderDecoderSettings, *, first: bool, decodes: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = [SelfAttentionLayer(settings, distances=first)]
        if decodes:
            layers.append(CrossAttentionLayer(settings))
        layers.append(FeedForwardLayer(settings))
        self.layer = nn.ModuleList(layers)

    @property
    def own(self) -> SelfAttentionLayer:
        """Attention to one's own sequence."""
        return cast("SelfAttentionLayer", self.layer[0])

    @property
    def cross(self) -> CrossAttentionLayer:
        """Attention to the source; a decoder's only."""
        return cast("CrossAttentionLayer", self.layer[1])

    @property
    def feed_forward(self) -> FeedForwardLayer:
        """The feed-forward network."""
        return cast("FeedForwardLayer", self.layer[-1])


class Stack(nn.Module):
    """The blocks of the encoder or of the decoder, and their last norm."""

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
        """The blocks in their order."""
        return [cast("Block", block) for block in self.block]

    def bias(self, queries_BT: Tensor, keys_S: Tensor) -> Tensor:
        """The distances' part of the scores, `(batch, heads, T, S)`; in a decoder what lies ahead can't be read.

        Args:
            queries_BT: Places of the tokens that look.
            keys_S: Places that they look at.
        """
        distances_BTS = keys_S - queries_BT[:, :, None]
        settings = self.settings
        buckets_BTS = bucket(distances_BTS, settings.num_buckets, settings.max_distance, both_ways=not self.decodes)
        weights_BTSH: Tensor = self.blocks[0].own.SelfAttention.relative_attention_bias(buckets_BTS)
        bias_BHTS = weights_BTSH.permute(0, 3, 1, 2)
        if self.decodes:
            bias_BHTS = bias_BHTS.masked_fill((distances_BTS > 0)[:, None], -torch.inf)
        return bias_BHTS


@ARCHITECTURES.register("encoder_decoder")
class T5Shaped(EncoderDecoder):
    """A bidirectional encoder of the source and a causal decoder of the target that reads it.

    Args:
        settings: The architecture's options.
        vocab_size: Entries of the shared embedding.
        max_length: Tokens of a source and of a target; longer ones are refused.
    """

    options_class = EncoderDecoderSettings
    settings: EncoderDecoderSettings
    language_model = "T5ForConditionalGeneration"
    stored_copies: ClassVar[Mapping[str, str]] = {"lm_head.weight": "shared.weight"}  # T5 scales what a tied head reads

    def __init__(self, settings: EncoderDecoderSettings, vocab_size: int, max_length: int) -> None:
        super().__init__(settings, vocab_size, max_length)
        self.shared = nn.Embedding(vocab_size, settings.dim)
        self.encoder = Stack(settings, decodes=False)
        self.decoder = Stack(settings, decodes=True)
        self.initialise()

    @torch.no_grad()
    def initialise(self) -> None:
        """Draw all weights anew.

        Matrices that write into the stream are zero, so that each layer begins as the identity (decision 0204); other
        matrices are normal with a variance of one over their inputs, queries with E times less, as scores are not
        divided by sqrt(E); the distances' weights are zero.
        """
        settings = self.settings
        self.shared.weight.normal_(0.0, head_std(settings.dim) if self.tie_embeddings else EMBEDDING_STD)
        for name, weight in self.named_parameters():
            if weight.dim() < 2:
                weight.fill_(1.0)
            elif name.endswith((".o.weight", ".wo.weight", "relative_attention_bias.weight")):
                weight.zero_()
            elif name.endswith(".q.weight"):
                weight.normal_(0.0, 1.0 / math.sqrt(settings.dim * settings.head_dim))
            elif name != "shared.weight":
                weight.normal_(0.0, 1.0 / math.sqrt(weight.shape[1]))

    def encode(self, source_BS: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """The memory; see `EncoderDecoder.encode`.

        Raises:
            ModelError: A source is longer than `max_length`.
        """
        self._refuse_length(source_BS.shape[1])
        places_S = torch.arange(source_BS.shape[1], device=source_BS.device)
        bias_BHSS = self.encoder.bias(places_S[None], places_S)
        mask_B11S = _real(source_BS.shape[1], lengths_B)
        if mask_B11S is not None:
            bias_BHSS = bias_BHSS.masked_fill(~mask_B11S, -torch.inf)
        x_BSD: Tensor = self.encoder.dropout(self.shared(source_BS))
        for block in self.encoder.blocks:
            x_BSD = block.feed_forward(block.own(x_BSD, bias_BHSS))
        memory_BSD: Tensor = self.encoder.dropout(self.encoder.final_layer_norm(x_BSD))
        return memory_BSD

    def decode(self, tokens_BT: Tensor, memory_BSD: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Hidden states of whole targets; see `EncoderDecoder.decode`.

        Raises:
            ModelError: A target is longer than `max_length`.
        """
        self._refuse_length(tokens_BT.shape[1])
        places_T = torch.arange(tokens_BT.shape[1], device=tokens_BT.device)
        mask_B11S = _real(memory_BSD.shape[1], lengths_B)
        sources = [(*pair, mask_B11S) for pair in self._read_source(memory_BSD)]
        return self._write(tokens_BT, self.decoder.bias(places_T[None], places_T), sources, None)

    def begin(self, memory_BSD: Tensor, lengths_B: Tensor | None, capacity: int) -> EncoderDecoderCache:
        """A cache that holds the memory; see `EncoderDecoder.begin`."""
        batch_size, source_length, _ = memory_BSD.shape
        pairs = self._read_source(memory_BSD)
        settings = self.settings
        places = min(capacity, self.max_length)
        shape = (settings.num_decoder_layers, batch_size, settings.num_heads, places, settings.head_dim)
        mask_B11S = _real(source_length, lengths_B)
        if mask_B11S is None:
            mask_B11S = torch.ones(batch_size, 1, 1, source_length, dtype=torch.bool, device=memory_BSD.device)
        return EncoderDecoderCache(
            memory_BSD.new_zeros(shape),
            memory_BSD.new_zeros(shape),
            [0] * batch_size,
            (torch.stack([keys for keys, _ in pairs]), torch.stack([values for _, values in pairs])),
            mask_B11S,
        )

    def forward(self, tokens_BT: Tensor, lengths_B: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        """Hidden states of target tokens that go on from a cache; see `Backbone.forward`.

        Raises:
            ModelError: There is no cache, it is not this network's, or it has no room for so many tokens.
        """
        batch_size, num_tokens = tokens_BT.shape
        if not isinstance(cache, EncoderDecoderCache) or len(cache.lengths) != batch_size:
            raise ModelError(
                f"An encoder-decoder needs a cache that holds {batch_size} source texts; make it with begin()."
            )
        end = cache.length + num_tokens
        if end > cache.capacity:
            raise ModelError(f"The cache has room for {cache.capacity} tokens of a target, not for {end}.")
        device = tokens_BT.device
        starts = cache.lengths[:1] if min(cache.lengths) == cache.length else cache.lengths
        queries_BT = torch.tensor(starts, device=device)[:, None] + torch.arange(num_tokens, device=device)
        bias_BHTS = self.decoder.bias(queries_BT, torch.arange(end, device=device))
        sources = [
            (keys, values, cache.source_mask_B11S)
            for keys, values in zip(cache.source_keys_LBHSE, cache.source_values_LBHSE, strict=True)
        ]
        hidden_BTD = self._write(tokens_BT, bias_BHTS, sources, cache)
        new = [num_tokens] * batch_size if lengths_B is None else lengths_B.tolist()
        cache.lengths = [old + more for old, more in zip(cache.lengths, new, strict=True)]
        return hidden_BTD

    def _write(
        self,
        tokens_BT: Tensor,
        bias_BHTS: Tensor,
        sources: Sequence[tuple[Tensor, Tensor, Tensor | None]],
        cache: KeyValueCache | None,
    ) -> Tensor:
        """The decoder's stack over some tokens."""
        x_BTD: Tensor = self.decoder.dropout(self.shared(tokens_BT))
        for number, (block, source) in enumerate(zip(self.decoder.blocks, sources, strict=True)):
            x_BTD = block.own(x_BTD, bias_BHTS, cache, number)
            x_BTD = block.feed_forward(block.cross(x_BTD, *source))
        x_BTD = self.decoder.dropout(self.decoder.final_layer_norm(x_BTD))
        return x_BTD

    @torch.no_grad()
    def attention(self, source_BS: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """The encoder's weights, `(layers, batch, heads, S, S)`; see `Attends.attention`.

        Raises:
            ModelError: A source is longer than `max_length`.
        """
        modules = [block.own.SelfAttention for block in self.encoder.blocks]
        return watched(modules, lambda: self.encode(source_BS, lengths_B))

    @torch.no_grad()
    def cross_attention(self, source_BS: Tensor, tokens_BT: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """The decoder's weights on the source, `(layers, batch, heads, T, S)`; see `AttendsToSource.cross_attention`.

        Raises:
            ModelError: A source or a target is longer than `max_length`.
        """
        modules = [block.cross.EncDecAttention for block in self.decoder.blocks]
        memory_BSD = self.encode(source_BS, lengths_B)
        return watched(modules, lambda: self.decode(tokens_BT, memory_BSD, lengths_B))

    def _read_source(self, memory_BSD: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of the source in each block of the decoder."""
        return [block.cross.EncDecAttention.keys_and_values(memory_BSD) for block in self.decoder.blocks]

    def _refuse_length(self, length: int) -> None:
        if length > self.max_length:
            raise ModelError(
                f"A sequence of {length} tokens is longer than the model's {self.max_length}; shorten the text."
            )

    @property
    def embedding(self) -> nn.Embedding:
        """The embedding that source and target share."""
        return self.shared

    def flops_per_token(self, length: int) -> float:
        """Operations of the matrix products in a forward pass, for one token in a sequence of `length`.

        A token is one of the source or of the target; half of each is taken, so this is the mean of the two.
        """
        matrices = sum(
            weight.numel()
            for stack in (self.encoder, self.decoder)
            for name, weight in stack.named_parameters()
            if weight.dim() == 2 and "relative_attention_bias" not in name
        )
        settings = self.settings
        attended = settings.num_layers + 2 * settings.num_decoder_layers
        return matrices + 2.0 * attended * self.dim * length

    def stored_names(self, network: nn.Module) -> dict[str, str]:
        """T5's names, which has its two stacks and its head side by side."""
        return {name: name.removeprefix("model.") for name in network.state_dict()}

    def start_from(self, base: Path) -> None:
        """Take the weights of another model's backbone; see `Backbone.start_from`."""
        state = {name.removeprefix("model."): tensor for name, tensor in load_state(base).items()}
        state.pop("lm_head.weight", None)
        load_weights(self, state, str(base))

    def config(self) -> dict[str, Any]:
        """The backbone in the words of `transformers.T5Config`."""
        settings = self.settings
        return {
            "model_type": "t5",
            "is_encoder_decoder": True,
            "vocab_size": self.vocab_size,
            "d_model": settings.dim,
            "d_kv": settings.head_dim,
            "d_ff": settings.hidden_dim,
            "num_layers": settings.num_layers,
            "num_decoder_layers": settings.num_decoder_layers,
            "num_heads": settings.num_heads,
            "relative_attention_num_buckets": settings.num_buckets,
            "relative_attention_max_distance": settings.max_distance,
            "layer_norm_epsilon": settings.norm_eps,
            "feed_forward_proj": "gated-gelu",
            "dropout_rate": settings.dropout,
            "tie_word_embeddings": False,  # in transformers: hidden states are not scaled before the head
        }


def bucket(distances: Tensor, num_buckets: int, max_distance: int, *, both_ways: bool) -> Tensor:
    """The bucket of each distance (Raffel et al., 2020, section 2.1, in the form of Mesh TensorFlow).

    Half of the buckets are for single distances, the others grow logarithmically up to `max_distance`.

    Args:
        distances: Place looked at, less the place that looks; any shape, int64.
        num_buckets: How many there are.
        max_distance: From here on all share the last one.
        both_ways: Half of the buckets are for what lies ahead; else that is distance 0.
    """
    first = torch.zeros_like(distances)
    if both_ways:
        num_buckets //= 2
        first = (distances > 0) * num_buckets
        away = distances.abs()
    else:
        away = (-distances).clamp(min=0)
    exact = num_buckets // 2
    growth = torch.log(away.clamp(min=1).float() / exact) / math.log(max_distance / exact) * (num_buckets - exact)
    far = (exact + growth.to(torch.int64)).clamp(max=num_buckets - 1)
    return first + torch.where(away < exact, away, far)


def _real(length: int, lengths_B: Tensor | None) -> Tensor | None:
    """True at real tokens, `(batch, 1, 1, length)`; None where nothing is padded."""
    if lengths_B is None:
        return None
    return (torch.arange(length, device=lengths_B.device) < lengths_B[:, None])[:, None, None]


def _remember(cache: KeyValueCache, layer: int, k_BHTE: Tensor, v_BHTE: Tensor) -> tuple[Tensor, Tensor]:
    """Write new keys and values after each sequence's own last ones; return all that there are."""
    keys_BHSE, values_BHSE = cache.keys_LBGSE[layer], cache.values_LBGSE[layer]
    num_tokens = k_BHTE.shape[2]
    end = cache.length + num_tokens
    if min(cache.lengths) == cache.length:
        keys_BHSE[:, :, cache.length : end] = k_BHTE
        values_BHSE[:, :, cache.length : end] = v_BHTE
    else:
        device = k_BHTE.device
        rows_B1 = torch.arange(len(k_BHTE), device=device)[:, None]
        places_BT = torch.tensor(cache.lengths, device=device)[:, None] + torch.arange(num_tokens, device=device)
        keys_BHSE[rows_B1, :, places_BT] = k_BHTE.transpose(1, 2).to(keys_BHSE.dtype)
        values_BHSE[rows_B1, :, places_BT] = v_BHTE.transpose(1, 2).to(values_BHSE.dtype)
    return keys_BHSE[:, :, :end].to(k_BHTE.dtype), values_BHSE[:, :, :end].to(v_BHTE.dtype)
