"""Options that every architecture made of attention blocks has."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt

from langmill.config.constraints import Share, require
from langmill.config.typed import settings


@settings
class AttentionSettings:
    """Options of a stack of blocks, each of attention and a feed-forward network."""

    dim: PositiveInt
    """Width of a hidden state."""
    num_layers: PositiveInt
    """Blocks of attention and feed-forward network."""
    num_heads: PositiveInt
    """Attention heads; each is dim / num_heads wide."""
    hidden_dim: PositiveInt
    """Width inside the feed-forward network."""
    norm_eps: Annotated[float, Field(gt=0, lt=1)]
    """Added to the mean square in RMSNorm."""
    tie_embeddings: bool
    """Whether a language model's head is the token embedding itself."""
    dropout: Share
    """Share of the embedding and of each block's outputs that is dropped in training, 0 to below 1."""

    def __post_init__(self) -> None:
        require(self.dim % self.num_heads == 0, "dim", self.dim, f"a multiple of num_heads ({self.num_heads})")

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.dim // self.num_heads
