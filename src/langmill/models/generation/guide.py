"""What restricts the tokens of a text: the interface of structured output."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Guide(Protocol):
    """The state of a grammar while one text is generated; a text has a guide of its own."""

    @property
    def ended(self) -> bool:
        """Whether the text is complete: nothing may follow."""

    def allowed(self) -> Tensor | None:
        """The tokens that may come next, boolean `(vocabulary,)` on the CPU; None where all may.

        A stop token is among them where the text may end. The network may know more tokens than the tensor has
        entries; those may not come. None at all ends the text.
        """

    def advance(self, token_id: int) -> None:
        """Take note of the token that was chosen; never called with a stop token."""
