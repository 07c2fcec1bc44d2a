"""The interface that generation needs of a network, and the reasons why a text ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Protocol, runtime_checkable

from torch import Tensor

from langmill.models.base import Cache


@runtime_checkable
class Decodes(Protocol):
    """A network that generates; checked with `isinstance`."""

    @property
    def max_length(self) -> int:
        """Tokens of a sequence, at most."""

    @property
    def joins(self) -> bool:
        """Whether its caches are `JoinableCache`s: texts of several requests are decoded together."""

    def begin(self, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> tuple[Cache, list[list[int]]]:
        """Make a cache for the prompts; return it with the ids that each sequence is to read first.

        Raises ModelError where a prompt is empty or too long, or the network is in training mode.
        """

    def read(self, new_ids: Sequence[Sequence[int]], cache: Cache) -> Tensor:
        """Read each sequence's new tokens into the cache; return the next-token logits `(batch, vocabulary)`."""


@runtime_checkable
class PredictsPrompt(Protocol):
    """A network that predicts every token of its prompt from those before; checked with `isinstance`."""

    def prompt_logits(self, prompts: Sequence[Sequence[int]]) -> Iterator[Tensor]:
        """Compute the logits after each token of some prompts, `(length, vocabulary)` each, in one forward pass.

        Raises ModelError where the prompt is empty or too long, or the network is in training mode.
        """


class Ending(StrEnum):
    """Why a text ended (as in the OpenAI interface)."""

    stop = "stop"
    """A stop token was generated."""
    length = "length"
    """`max_new_tokens` or the context length is reached."""
