"""The base class of the Transformers in Llama's shape: a stack of the blocks of `langmill.models.layers.llama`.

Attention is causal in `decoder` and bidirectional in `encoder`. Shape suffixes: see `langmill.models.base`; S stands
for the positions attended to.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn

from langmill.models.base import EMBEDDING_STD, Backbone, head_std
from langmill.models.layers.attention import recorded_weights
from langmill.models.layers.llama import Block, BlockShape, Positions, TransformerSettings, rotary_tables
from langmill.models.layers.norm import RMSNorm


class Transformer(Backbone):
    """The stack of blocks between the token ids and the heads; a sequence longer than `max_length` is refused."""

    options_class = TransformerSettings
    settings: TransformerSettings
    model_type: ClassVar[str]
    """The name of the shape in `transformers`."""
    shape: BlockShape
    """The shape of the blocks."""
    cos_SE: Tensor
    sin_SE: Tensor

    def __init__(self, settings: TransformerSettings, vocab_size: int, max_length: int) -> None:
        super().__init__(settings, vocab_size, max_length)
        self._make(settings.shape)
        self.initialise()

    def _make(self, shape: BlockShape) -> None:
        """Make the modules and the buffers."""
        self.shape = shape
        self.embed_tokens = nn.Embedding(self.vocab_size, shape.dim)
        self.dropout = nn.Dropout(shape.dropout)
        self.layers = nn.ModuleList(Block(shape) for _ in range(shape.num_layers))
        self.norm = RMSNorm(shape.dim, shape.norm_eps)
        for name in ("cos_SE", "sin_SE"):
            self.register_buffer(name, torch.empty(self.max_length, shape.head_dim), persistent=False)

    @torch.no_grad()
    def initialise(self) -> None:
        """Initialise all weights and the rotary tables (needed after `to_empty` of a network made on `meta`).

        Matrices whose output is added to the residual stream are zero, so that each block begins as the identity (Zhang
        et al., 2019, Fixup; also in nanochat); other matrices are normal with a variance of one over their inputs. The
        first loss of a language model is close to ln V. See docs/decisions/0204-initialisation.md.
        """
        embedding_std = head_std(self.dim) if self.tie_embeddings else EMBEDDING_STD
        for name, weight in self.named_parameters():
            if weight.dim() < 2:
                weight.fill_(0.0 if name.endswith("bias") else 1.0)
            elif name == "embed_tokens.weight":
                weight.normal_(0.0, embedding_std)
            elif name.endswith(("o_proj.weight", "down_proj.weight")):
                weight.zero_()
            else:
                weight.normal_(0.0, 1.0 / math.sqrt(weight.shape[1]))
        self.fill_rotary_tables()

    def fill_rotary_tables(self) -> None:
        """Compute the rotary tables, which no file holds."""
        cos_SE, sin_SE = rotary_tables(self.shape, self.max_length)
        self.cos_SE.copy_(cos_SE)
        self.sin_SE.copy_(sin_SE)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or convert the network; rotary tables stay in float32, since bf16 can't tell neighbours apart."""
        exact = {name: getattr(self, name) for name in ("cos_SE", "sin_SE")}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, table in exact.items():
            moved = getattr(self, name)
            if moved.dtype != table.dtype:
                setattr(self, name, table.to(moved.device))
        return self

    def rotary(self, num_tokens: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Rotary cos and sin of the queries and of the keys at the first positions of a sequence.

        Repeated for each head in memory: broadcasting would make each product a loop over E alone.
        """
        cos, sin = self.cos_SE[:num_tokens, None], self.sin_SE[:num_tokens, None]
        rotary_q, rotary_k = (
            (cos.expand(-1, heads, -1).contiguous(), sin.expand(-1, heads, -1).contiguous())
            for heads in (self.shape.num_heads, self.shape.num_kv_heads)
        )
        return rotary_q, rotary_k

    def run(self, tokens_BT: Tensor, positions: Positions) -> Tensor:
        """Compute the hidden states `(batch, length, dim)` after the last norm."""
        x_BTD: Tensor = self.dropout(self.embed_tokens(tokens_BT))
        if x_BTD.is_cuda and torch.is_autocast_enabled("cuda"):  # half the traffic between the blocks
            x_BTD = x_BTD.to(torch.get_autocast_dtype("cuda"))
        for number, layer in enumerate(self.layers):
            x_BTD = layer(x_BTD, positions, number)
        return cast("Tensor", self.norm(x_BTD))

    @torch.no_grad()
    def attention(self, tokens_BT: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Compute the attention weights, `(layers, batch, heads, T, T)`; see `Attends.attention`."""
        modules = [cast("Block", layer).self_attn for layer in self.layers]
        return recorded_weights(modules, lambda: self(tokens_BT, lengths_B))

    @property
    def embedding(self) -> nn.Embedding:
        """The token embedding."""
        return self.embed_tokens

    def flops_per_token(self, length: int) -> float:
        """Operations of the matrix products in a forward pass, for one token in a sequence of `length`.

        Two for each weight of a matrix, and 4 L H E for each position attended to. As in the usual definition
        of utilisation (Chowdhery et al., 2022, appendix B) causally masked positions count too.
        """
        matrices = sum(weight.numel() for weight in self.layers.parameters() if weight.dim() == 2)
        shape = self.shape
        return 2.0 * matrices + 4.0 * shape.num_layers * shape.num_heads * shape.head_dim * length

    def config(self) -> dict[str, Any]:
        """Describe the backbone by the names of `transformers` for this shape."""
        settings = self.settings
        return {
            "model_type": self.model_type,
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
