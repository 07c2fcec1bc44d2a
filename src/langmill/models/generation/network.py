"""What generation needs of a network, and what it says at a text's end."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from torch import Tensor

from langmill.models.base import Cache


class Decodes(Protocol):
    """What generation needs of a network."""

    @property
    def max_length(self) -> int:
        """Tokens of a sequence, at most."""

    def begin(self, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> tuple[Cache, list[list[int]]]:
        """A cache for so many prompts, and the ids that each sequence is to read first.

        Raises:
            ModelError: A prompt is empty or too long, or the network is in training mode.
        """

    def read(self, new_ids: Sequence[Sequence[int]], cache: Cache) -> Tensor:
        """Read each sequence's new tokens into the cache; return the logits `(batch, vocabulary)` of what follows."""


class Ending(StrEnum):
    """Why a text ended (the words of the OpenAI interface)."""

    stop = "stop"
    """A stop token came."""
    length = "length"
    """`max_new_tokens` are there, or the network can look back no further."""
