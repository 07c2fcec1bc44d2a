"""What the Transformer architectures in Llama's shape share: blocks, rotary positions, and a cache of keys and values.

Pre-norm blocks with RMSNorm (Zhang & Sennrich, 2019), rotary positions (Su et al., 2021, in Hugging Face's half-split
form), grouped-query attention (Ainslie et al., 2023) and SwiGLU (Shazeer, 2020), no biases (Touvron et al., 2023).
`decoder` looks back only, `encoder` both ways. Shape suffixes: see `langmill.models.base`; S stands for the places that
are looked at.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from langmill.config.sections import require
from langmill.errors import ModelError
from langmill.models.base import EMBEDDING_STD, Backbone, Cache, head_std
from langmill.models.functions import rms_norm, rotate


@dataclass
class TransformerSettings:
    """Options of the architectures `decoder` and `encoder`."""

    dim: int
    """Width of a hidden state."""
    num_layers: int
    """Blocks of attention and feed-forward network."""
    num_heads: int
    """Attention heads; each is dim / num_heads wide."""
    num_kv_heads: int
    """Heads of keys and values, each shared by num_heads / num_kv_heads attention heads."""
    hidden_dim: int
    """Width inside the feed-forward network."""
    rope_theta: float
    """Base of the rotary positions' wavelengths."""
    norm_eps: float
    """Added to the mean square in RMSNorm."""
    tie_embeddings: bool
    """Whether a language model's head is the token embedding itself."""
    dropout: float
    """Share of the embedding and of each block's outputs that is dropped in training, 0 to below 1."""

    def __post_init__(self) -> None:
        for field in ("dim", "num_layers", "num_heads", "num_kv_heads", "hidden_dim"):
            value = getattr(self, field)
            require(value >= 1, f"model.options.{field}", value, "1 or more")
        require(
            self.dim % self.num_heads == 0,
            "model.options.dim",
            self.dim,
            f"a multiple of num_heads ({self.num_heads})",
        )
        require(
            self.head_dim % 2 == 0,
            "model.options.dim",
            self.dim,
            f"an even multiple of num_heads ({self.num_heads}), since rotary positions turn pairs of numbers",
        )
        require(
            self.num_heads % self.num_kv_heads == 0,
            "model.options.num_kv_heads",
            self.num_kv_heads,
            f"a divisor of num_heads ({self.num_heads})",
        )
        require(1 < self.rope_theta < math.inf, "model.options.rope_theta", self.rope_theta, "a finite number above 1")
        require(0 < self.norm_eps < 1, "model.options.norm_eps", self.norm_eps, "above 0 and below 1")
        require(0 <= self.dropout < 1, "model.options.dropout", self.dropout, "0 to below 1")

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.dim // self.num_heads


class KeyValueCache(Cache):
    """Keys and values of the tokens seen, in memory that is allocated once.

    The sequences of a batch may be of unequal length; each one's new tokens are written after its own last one.

    Attributes:
        keys_LBGSE: Rotated keys; places from a sequence's length on hold nothing of meaning.
        values_LBGSE: Values.
        lengths: Tokens seen of each sequence.
    """

    def __init__(self, keys_LBGSE: Tensor, values_LBGSE: Tensor, lengths: list[int]) -> None:
        self.keys_LBGSE = keys_LBGSE
        self.values_LBGSE = values_LBGSE
        self.lengths = lengths

    @property
    def length(self) -> int:
        """Tokens seen of the longest sequence."""
        return max(self.lengths, default=0)

    @property
    def capacity(self) -> int:
        """Tokens that one sequence has room for."""
        return self.keys_LBGSE.shape[3]

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all sequences but these, and put these in this order."""
        index = torch.tensor(rows, dtype=torch.long, device=self.keys_LBGSE.device)
        self.keys_LBGSE = self.keys_LBGSE.index_select(1, index)
        self.values_LBGSE = self.values_LBGSE.index_select(1, index)
        self.lengths = [self.lengths[row] for row in rows]

    def append(self, other: Cache) -> None:
        """Take in the sequences of another cache, after one's own.

        Raises:
            ModelError: The other cache is of another network or has another capacity.
        """
        if not isinstance(other, KeyValueCache) or other._form != self._form:
            raise ModelError("Two caches can be joined only if they come from one network and have one capacity.")
        self.keys_LBGSE = torch.cat([self.keys_LBGSE, other.keys_LBGSE], dim=1)
        self.values_LBGSE = torch.cat([self.values_LBGSE, other.values_LBGSE], dim=1)
        self.lengths = self.lengths + other.lengths

    @property
    def _form(self) -> tuple[int, ...]:
        layers, _, *rest = self.keys_LBGSE.shape
        return (layers, *rest)


@dataclass
class Places:
    """Where the tokens of one forward pass stand, worked out once for all layers."""

    turns_q: tuple[Tensor, Tensor]
    """Cosines and sines for `rotate`, `(T, H, E)`; `(T, 1, E)` or `(B, T, 1, E)` where a cache is used."""
    turns_k: tuple[Tensor, Tensor]
    """The same with G for H."""
    cache: KeyValueCache | None = None
    starts: int | Tensor = 0
    """Where in the cache the tokens go: from this place on, or at these places `(B, T)`."""
    mask: Tensor | None = None
    """`(B or 1, 1, T, S)`, true where a token may look; None where causality or nothing need be said."""
    causal: bool = True


class RMSNorm(nn.Module):
    """Scale to a root mean square of one, times a learned gain."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x_BTD: Tensor) -> Tensor:
        """The normalised input, in the input's own number format."""
        return rms_norm(x_BTD, self.weight, self.eps)


class Attention(nn.Module):
    """Grouped-query self-attention with rotary positions."""

    def __init__(self, settings: TransformerSettings) -> None:
        super().__init__()
        self.head_dim = settings.head_dim
        kv_dim = settings.num_kv_heads * settings.head_dim
        self.grouped = settings.num_kv_heads < settings.num_heads
        self.q_proj = nn.Linear(settings.dim, settings.dim, bias=False)
        self.k_proj = nn.Linear(settings.dim, kv_dim, bias=False)
        self.v_proj = nn.Linear(settings.dim, kv_dim, bias=False)
        self.o_proj = nn.Linear(settings.dim, settings.dim, bias=False)

    def forward(self, x_BTD: Tensor, places: Places, layer: int) -> Tensor:
        """What each token reads from the places that it may look at."""
        q_BTHE, k_BTGE, v_BTGE = (
            projection(x_BTD).unflatten(-1, (-1, self.head_dim))
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        q_BHTE = rotate(q_BTHE, *places.turns_q).transpose(1, 2)
        k_BGTE = rotate(k_BTGE, *places.turns_k).transpose(1, 2)
        v_BGTE = v_BTGE.transpose(1, 2)
        if places.cache is not None:
            k_BGTE, v_BGTE = remember(places, layer, k_BGTE, v_BGTE)
        y_BHTE = F.scaled_dot_product_attention(
            q_BHTE, k_BGTE, v_BGTE, attn_mask=places.mask, is_causal=places.causal, enable_gqa=self.grouped
        )
        y_BTD: Tensor = self.o_proj(y_BHTE.transpose(1, 2).flatten(2))
        return y_BTD

    def weights(self, x_BTD: Tensor, places: Places, layer: int) -> Tensor:
        """The weights with which `forward` of the same arguments mixes the values, `(batch, heads, T, T)`.

        Without a cache only. `forward` never has them in memory as a whole, which is what makes it fast.
        """
        del layer
        assert places.cache is None
        q_BTHE = self.q_proj(x_BTD).unflatten(-1, (-1, self.head_dim))
        k_BTGE = self.k_proj(x_BTD).unflatten(-1, (-1, self.head_dim))
        q_BHTE = rotate(q_BTHE, *places.turns_q).transpose(1, 2)
        k_BGTE = rotate(k_BTGE, *places.turns_k).transpose(1, 2)
        k_BHTE = k_BGTE.repeat_interleave(q_BHTE.shape[1] // k_BGTE.shape[1], dim=1)
        mask = places.mask
        if places.causal:
            mask = torch.ones(x_BTD.shape[1], x_BTD.shape[1], dtype=torch.bool, device=x_BTD.device).tril()
        return attention_weights(q_BHTE, k_BHTE, mask, 1.0 / math.sqrt(self.head_dim))


class FeedForward(nn.Module):
    """SwiGLU: a gated network of two layers."""

    def __init__(self, settings: TransformerSettings) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(settings.dim, settings.hidden_dim, bias=False)
        self.up_proj = nn.Linear(settings.dim, settings.hidden_dim, bias=False)
        self.down_proj = nn.Linear(settings.hidden_dim, settings.dim, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """The same function of every token."""
        y_BTD: Tensor = self.down_proj(F.silu(self.gate_proj(x_BTD)) * self.up_proj(x_BTD))
        return y_BTD


class Block(nn.Module):
    """Attention and feed-forward network, each added to the stream it reads normalised."""

    def __init__(self, settings: TransformerSettings) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(settings.dim, settings.norm_eps)
        self.self_attn = Attention(settings)
        self.post_attention_layernorm = RMSNorm(settings.dim, settings.norm_eps)
        self.mlp = FeedForward(settings)
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, x_BTD: Tensor, places: Places, layer: int) -> Tensor:
        """The stream after this block."""
        x_BTD = x_BTD + self.dropout(self.self_attn(self.input_layernorm(x_BTD), places, layer))
        x_BTD = x_BTD + self.dropout(self.mlp(self.post_attention_layernorm(x_BTD)))
        return x_BTD


class Transformer(Backbone):
    """The stack of blocks between the token ids and the heads.

    Args:
        settings: The architecture's options.
        vocab_size: Entries of the token embedding.
        max_length: Positions; a longer sequence is refused.
    """

    options_class = TransformerSettings
    settings: TransformerSettings
    cos_SE: Tensor
    sin_SE: Tensor

    def __init__(self, settings: TransformerSettings, vocab_size: int, max_length: int) -> None:
        super().__init__(settings, vocab_size, max_length)
        self.embed_tokens = nn.Embedding(vocab_size, settings.dim)
        self.dropout = nn.Dropout(settings.dropout)
        self.layers = nn.ModuleList(Block(settings) for _ in range(settings.num_layers))
        self.norm = RMSNorm(settings.dim, settings.norm_eps)
        for name in ("cos_SE", "sin_SE"):
            self.register_buffer(name, torch.empty(max_length, settings.head_dim), persistent=False)
        self.initialise()

    @torch.no_grad()
    def initialise(self) -> None:
        """Draw all weights anew and compute the positions (needed after `to_empty` of a network made on `meta`).

        Matrices that write into the residual stream are zero, so that each block begins as the identity (Zhang et al.,
        2019, Fixup; also in nanochat); other matrices are normal with a variance of one over their inputs. The first
        loss of a language model is close to ln V. docs/decisions/0204-initialisation.md has what it is worth.
        """
        embedding_std = head_std(self.dim) if self.tie_embeddings else EMBEDDING_STD
        for name, weight in self.named_parameters():
            if weight.dim() < 2:
                weight.fill_(1.0)
            elif name == "embed_tokens.weight":
                weight.normal_(0.0, embedding_std)
            elif name.endswith(("o_proj.weight", "down_proj.weight")):
                weight.zero_()
            else:
                weight.normal_(0.0, 1.0 / math.sqrt(weight.shape[1]))
        cos_SE, sin_SE = rotary_tables(self.settings, self.max_length)
        self.cos_SE.copy_(cos_SE)
        self.sin_SE.copy_(sin_SE)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or convert the network; the positions stay in float32, since bf16 can't tell neighbouring ones apart."""
        exact = {name: getattr(self, name) for name in ("cos_SE", "sin_SE")}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, table in exact.items():
            moved = getattr(self, name)
            if moved.dtype != table.dtype:
                setattr(self, name, table.to(moved.device))
        return self

    def turns(self, num_tokens: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Cosines and sines that turn the queries and the keys of the first tokens of a sequence.

        Repeated for each head in memory: broadcasting would make each product a loop over E alone.
        """
        cos, sin = self.cos_SE[:num_tokens, None], self.sin_SE[:num_tokens, None]
        turns_q, turns_k = (
            (cos.expand(-1, heads, -1).contiguous(), sin.expand(-1, heads, -1).contiguous())
            for heads in (self.settings.num_heads, self.settings.num_kv_heads)
        )
        return turns_q, turns_k

    def run(self, tokens_BT: Tensor, places: Places) -> Tensor:
        """Hidden states `(batch, tokens, width)` after the last norm."""
        x_BTD: Tensor = self.dropout(self.embed_tokens(tokens_BT))
        for number, layer in enumerate(self.layers):
            x_BTD = layer(x_BTD, places, number)
        return cast("Tensor", self.norm(x_BTD))

    @torch.no_grad()
    def attention(self, tokens_BT: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """The weights of all layers, `(layers, batch, heads, T, T)`; see `Attends.attention`.

        Raises:
            ModelError: A sequence is longer than `max_length`.
        """
        modules = [cast("Block", layer).self_attn for layer in self.layers]
        return watched(modules, lambda: self(tokens_BT, lengths_B))

    def refuse_length(self, length: int, allowed: int) -> None:
        """Refuse a sequence that is too long.

        Raises:
            ModelError: It has more tokens than allowed.
        """
        if length > allowed:
            raise ModelError(f"A sequence of {length} tokens is longer than the model's {allowed}; shorten the text.")

    @property
    def embedding(self) -> nn.Embedding:
        """The token embedding."""
        return self.embed_tokens

    def flops_per_token(self, length: int) -> float:
        """Operations of the matrix products in a forward pass, for one token in a sequence of `length`.

        Two for each weight of a matrix, and 4 L H E for each place attended to. As in the usual definition of
        utilisation (Chowdhery et al., 2022, appendix B) the places that causality hides count too.
        """
        matrices = sum(weight.numel() for weight in self.layers.parameters() if weight.dim() == 2)
        return 2.0 * matrices + 4.0 * self.settings.num_layers * self.dim * length

    def config(self) -> dict[str, Any]:
        """The backbone in the words that `transformers` has for this shape, all but `model_type`."""
        settings = self.settings
        return {
            "vocab_size": self.vocab_size,
            "hidden_size": settings.dim,
            "intermediate_size": settings.hidden_dim,
            "num_hidden_layers": settings.num_layers,
            "num_attention_heads": settings.num_heads,
            "num_key_value_heads": settings.num_kv_heads,
            "head_dim": settings.head_dim,
            "hidden_act": "silu",
            "max_position_embeddings": self.max_length,
            "rms_norm_eps": settings.norm_eps,
            "rope_theta": settings.rope_theta,  # transformers 4
            "rope_parameters": {"rope_type": "default", "rope_theta": settings.rope_theta},  # transformers 5
            "attention_bias": False,
            "attention_dropout": 0.0,
            "mlp_bias": False,
            "initializer_range": EMBEDDING_STD,
            "tie_word_embeddings": settings.tie_embeddings,
        }


def rotary_tables(settings: TransformerSettings, length: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary positions, `(length, head width)` each, in float32.

    The first half of the sines is negated, so that turning is `x * cos + swapped(x) * sin` (see `rotate`).
    """
    exponents = torch.arange(0, settings.head_dim, 2, dtype=torch.float32, device="cpu") / settings.head_dim
    angles = torch.outer(torch.arange(length, dtype=torch.float32, device="cpu"), 1.0 / settings.rope_theta**exponents)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)


def attention_weights(q_BHTE: Tensor, k_BHSE: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """softmax(q k^T scale + mask), `(batch, heads, T, S)` in float32 (Vaswani et al., 2017, equation 1).

    Args:
        q_BHTE: Queries.
        k_BHSE: Keys.
        mask: As `scaled_dot_product_attention` takes it: added to the scores, or of truth values, true where a token
            may look.
        scale: What the products are multiplied with.
    """
    scores_BHTS = q_BHTE.float() @ k_BHSE.float().transpose(-1, -2) * scale
    if mask is not None and mask.dtype == torch.bool:
        scores_BHTS = scores_BHTS.masked_fill(~mask, -torch.inf)
    elif mask is not None:
        scores_BHTS = scores_BHTS + mask
    return scores_BHTS.softmax(dim=-1)


def watched(modules: Iterable[nn.Module], run: Callable[[], object]) -> Tensor:
    """The `weights` of attention modules at what they are given while `run` runs, `(layers, batch, heads, T, S)`.

    The ordinary forward pass runs, so that what is found is what the network does, and the pass itself knows nothing of
    it. For one thread: another one that runs the same network meanwhile would be watched too.

    Args:
        modules: One a layer, in the order in which they run; `weights` takes what `forward` takes.
        run: Runs each of them once.
    """
    found: list[Tensor] = []

    def note(module: nn.Module, given: tuple[Any, ...]) -> None:
        found.append(cast("Any", module).weights(*given))

    handles = [module.register_forward_pre_hook(note) for module in modules]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return torch.stack(found)


def remember(places: Places, layer: int, k_BGTE: Tensor, v_BGTE: Tensor) -> tuple[Tensor, Tensor]:
    """Write new keys and values into the cache; return those that the new tokens look at."""
    assert places.cache is not None
    keys_BGSE, values_BGSE = places.cache.keys_LBGSE[layer], places.cache.values_LBGSE[layer]
    if isinstance(places.starts, int):
        end = places.starts + k_BGTE.shape[2]
        keys_BGSE[:, :, places.starts : end] = k_BGTE
        values_BGSE[:, :, places.starts : end] = v_BGTE
        if places.starts == 0:
            return k_BGTE, v_BGTE
    else:
        rows_B1 = torch.arange(len(k_BGTE), device=k_BGTE.device)[:, None]
        keys_BGSE[rows_B1, :, places.starts] = k_BGTE.transpose(1, 2).to(keys_BGSE.dtype)
        values_BGSE[rows_B1, :, places.starts] = v_BGTE.transpose(1, 2).to(values_BGSE.dtype)
        assert places.mask is not None
        end = places.mask.shape[-1]
    return keys_BGSE[:, :, :end].to(k_BGTE.dtype), values_BGSE[:, :, :end].to(v_BGTE.dtype)
