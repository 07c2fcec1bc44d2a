"""A small matrix the other way round, for products with one token."""

from __future__ import annotations

import torch
from torch import Tensor

_SMALL_MATRIX = 2**20  # numbers


class Columns:
    """A copy of a small matrix whose columns are in one piece, as long as the matrix stays what it is.

    A CPU's library multiplies one token with a wide matrix of short rows two to four times as fast from such a copy.
    With more tokens it does not, and a larger matrix takes as long as its bytes take to be read.

    Attributes:
        weight_IO: The copy; None for no matrix, a large one, or one that is not of float32 on a CPU.
    """

    def __init__(self) -> None:
        self.weight_IO: Tensor | None = None
        self._state: tuple[int, int] | None = None

    def follow(self, weight_OI: Tensor | None) -> None:
        """Copy the matrix where it is another one than last time, or has been changed in place."""
        fits = weight_OI is not None and weight_OI.numel() <= _SMALL_MATRIX
        if weight_OI is None or not fits or weight_OI.device.type != "cpu" or weight_OI.dtype != torch.float32:
            self.weight_IO = self._state = None
            return
        # What was made in inference mode counts no changes: it is copied each time.
        state = None if weight_OI.is_inference() else (weight_OI.data_ptr(), weight_OI._version)
        if state is None or state != self._state:
            self.weight_IO = weight_OI.detach().t().contiguous()
            self._state = state
