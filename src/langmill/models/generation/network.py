"""The interface that generation needs of a network, and the reasons why a text ends."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from torch import Tensor

from langmill.models.base import Cache


class Decodes(Protocol):
    """A network that generates."""

    @property
    def max_length(self) -> int:
        """Tokens of a sequence, at most."""

    def begin(self, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> tuple[Cache, list[list[int]]]:
        """Make a cache for the prompts; return it with the ids that each sequence is to read first.

        Raises:
            ModelError: A prompt is empty or too long, or the network is in training mode.
        """

    def read(self, new_ids: Sequence[Sequence[int]], cache: Cache) -> Tensor:
        """Read each sequence's new tokens into the cache; return the next-token logits `(batch, vocabulary)`."""


class Ending(StrEnum):
    """Why a text ended (as in the OpenAI interface)."""

    stop = "stop"
    """A stop token was generated."""
    length = "length"
    """`max_new_tokens` or the context length is reached."""
