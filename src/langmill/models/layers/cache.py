"""Key-value caches, in memory that is allocated once.

Shape suffixes: see `langmill.models.base`; S stands for the positions attended to.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from langmill.errors import ModelError
from langmill.models.base import Cache


class KeyValueCache(Cache):
    """Keys and values of the tokens seen, in memory that is allocated once.

    The sequences of a batch may have unequal lengths; each one's new tokens are stored after its own last one.

    Attributes:
        keys_LBGSE: Rotated keys; positions from a sequence's length on are undefined.
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
        """Tokens of a sequence, at most."""
        return self.keys_LBGSE.shape[3]

    def keep(self, rows: Sequence[int]) -> None:
        """Keep these sequences only, in this order."""
        index = torch.tensor(rows, dtype=torch.long, device=self.keys_LBGSE.device)
        self.keys_LBGSE = self.keys_LBGSE.index_select(1, index)
        self.values_LBGSE = self.values_LBGSE.index_select(1, index)
        self.lengths = [self.lengths[row] for row in rows]

    def append(self, other: Cache) -> None:
        """Append the sequences of another cache.

        Raises:
            ModelError: The other cache is of another network or has another capacity.
        """
        if not isinstance(other, KeyValueCache) or other._shape != self._shape:
            raise ModelError("Two caches can be joined only if they come from one network and have one capacity.")
        self.keys_LBGSE = torch.cat([self.keys_LBGSE, other.keys_LBGSE], dim=1)
        self.values_LBGSE = torch.cat([self.values_LBGSE, other.values_LBGSE], dim=1)
        self.lengths = self.lengths + other.lengths

    @property
    def _shape(self) -> tuple[int, ...]:
        layers, _, *rest = self.keys_LBGSE.shape
        return (layers, *rest)


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
        """Keep these sequences only, in this order."""
        super().keep(rows)
        index = torch.tensor(rows, dtype=torch.long, device=self.source_keys_LBHSE.device)
        self.source_keys_LBHSE = self.source_keys_LBHSE.index_select(1, index)
        self.source_values_LBHSE = self.source_values_LBHSE.index_select(1, index)
        self.source_mask_B11S = self.source_mask_B11S.index_select(0, index)

    def append(self, other: Cache) -> None:
        """Append the sequences of another cache; shorter sources are padded.

        Raises:
            ModelError: The other cache is of another network or has another capacity.
        """
        if not isinstance(other, EncoderDecoderCache):
            raise ModelError("Two caches can be joined only if they come from one network and have one capacity.")
        super().append(other)
        longest = max(self.source_mask_B11S.shape[-1], other.source_mask_B11S.shape[-1])

        def joined(own: Tensor, others: Tensor, after: int, batch: int) -> Tensor:
            return torch.cat(
                [F.pad(each, (0, 0) * after + (0, longest - each.shape[-1 - after])) for each in (own, others)], batch
            )

        self.source_keys_LBHSE = joined(self.source_keys_LBHSE, other.source_keys_LBHSE, 1, 1)
        self.source_values_LBHSE = joined(self.source_values_LBHSE, other.source_values_LBHSE, 1, 1)
        self.source_mask_B11S = joined(self.source_mask_B11S, other.source_mask_B11S, 0, 0)
