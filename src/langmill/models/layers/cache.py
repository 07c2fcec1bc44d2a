"""Key-value caches, in memory that is allocated once.

Shape suffixes: see `langmill.models.base`; S stands for the positions attended to.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from langmill.models.base import Cache


class KeyValueCache(Cache):
    """Keys and values of the tokens seen.

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
    def capacity(self) -> int:
        """Tokens of a sequence, at most."""
        return self.keys_LBGSE.shape[3]

    def keep(self, rows: Sequence[int]) -> None:
        """Keep these sequences only, in this order."""
        index = torch.tensor(rows, dtype=torch.long, device=self.keys_LBGSE.device)
        self.keys_LBGSE = self.keys_LBGSE.index_select(1, index)
        self.values_LBGSE = self.values_LBGSE.index_select(1, index)
        self.lengths = [self.lengths[row] for row in rows]

    def store(
        self, layer: int, k_BGTE: Tensor, v_BGTE: Tensor, places_BT: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Store new keys and values after each sequence's last ones; return all that the new tokens attend to.

        They go to `places_BT`, which may be None where all sequences have one length.
        """
        start, end = self.length, self.length + k_BGTE.shape[2]
        keys_BGSE, values_BGSE = self.keys_LBGSE[layer], self.values_LBGSE[layer]
        if places_BT is None:
            keys_BGSE[:, :, start:end] = k_BGTE
            values_BGSE[:, :, start:end] = v_BGTE
            if start == 0:
                return k_BGTE, v_BGTE
        else:
            rows_B1 = torch.arange(len(k_BGTE), device=k_BGTE.device)[:, None]
            keys_BGSE[rows_B1, :, places_BT] = k_BGTE.transpose(1, 2).to(keys_BGSE.dtype)
            values_BGSE[rows_B1, :, places_BT] = v_BGTE.transpose(1, 2).to(values_BGSE.dtype)
        return keys_BGSE[:, :, :end].to(k_BGTE.dtype), values_BGSE[:, :, :end].to(v_BGTE.dtype)


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
