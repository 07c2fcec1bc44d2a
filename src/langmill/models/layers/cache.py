"""Key-value caches, in memory that is allocated once.

Shape suffixes: see `langmill.models.base`; S stands for the positions attended to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from langmill.models.base import Cache, JoinableCache, doubled


class KeyValueCache(JoinableCache):
    """Keys and values of the tokens seen.

    The sequences of a batch may have unequal lengths; each one's new tokens are stored after its own last one.

    Attributes:
        keys_LBGSE: Rotated keys; positions from a sequence's length on are undefined, but finite. There may be more
            rows than sequences.
        values_LBGSE: Values.
        lengths: Tokens seen of each sequence.
    """

    def __init__(self, keys_LBGSE: Tensor, values_LBGSE: Tensor, lengths: list[int]) -> None:
        self.keys_LBGSE = keys_LBGSE
        self.values_LBGSE = values_LBGSE
        self.lengths = lengths
        self._index: tuple[Tensor, Tensor] | None = None  # the places of the last token, and what was made of them

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
        rows = len(k_BGTE)
        keys_BGSE, values_BGSE = self.keys_LBGSE[layer, :rows], self.values_LBGSE[layer, :rows]
        if places_BT is None:
            keys_BGSE[:, :, start:end] = k_BGTE
            values_BGSE[:, :, start:end] = v_BGTE
            if start == 0:
                return k_BGTE, v_BGTE
        elif k_BGTE.shape[2] == 1 and self.keys_LBGSE.is_contiguous():
            index_N, head_dim = self._index_of(places_BT), k_BGTE.shape[3]
            for memory, new in ((self.keys_LBGSE, k_BGTE), (self.values_LBGSE, v_BGTE)):
                memory[layer].view(-1, head_dim).index_copy_(0, index_N, new.reshape(-1, head_dim).to(memory.dtype))
        else:
            rows_B1 = torch.arange(len(k_BGTE), device=k_BGTE.device)[:, None]
            keys_BGSE[rows_B1, :, places_BT] = k_BGTE.transpose(1, 2).to(keys_BGSE.dtype)
            values_BGSE[rows_B1, :, places_BT] = v_BGTE.transpose(1, 2).to(values_BGSE.dtype)
        return keys_BGSE[:, :, :end].to(k_BGTE.dtype), values_BGSE[:, :, :end].to(v_BGTE.dtype)

    def _index_of(self, places_B1: Tensor) -> Tensor:
        """Where one new token of each sequence goes in a layer's memory, in rows of one head; alike in all layers."""
        if self._index is None or self._index[0] is not places_B1:
            groups, capacity = self.keys_LBGSE.shape[2:4]
            first_B1 = torch.arange(len(places_B1), device=places_B1.device)[:, None] * groups
            heads_BG = first_B1 + torch.arange(groups, device=places_B1.device)
            self._index = places_B1, (heads_BG * capacity + places_B1).flatten()
        return self._index[1]

    def emptied(self) -> Self:
        """Make a cache of this kind without sequences; see `JoinableCache`."""
        keys_LBGSE, values_LBGSE = (part[:, :0, :, :0].clone() for part in (self.keys_LBGSE, self.values_LBGSE))
        return type(self)(keys_LBGSE, values_LBGSE, [])

    def join(self, other: Cache, capacity: int) -> None:
        """Take in the only sequence of `other`; see `JoinableCache`."""
        assert isinstance(other, KeyValueCache)
        row, length = len(self.lengths), other.length
        self.keys_LBGSE = grown(self.keys_LBGSE, row, 1, capacity, 3)
        self.values_LBGSE = grown(self.values_LBGSE, row, 1, capacity, 3)
        self.keys_LBGSE[:, row, :, :length] = other.keys_LBGSE[:, 0, :, :length]
        self.values_LBGSE[:, row, :, :length] = other.values_LBGSE[:, 0, :, :length]
        self.lengths.append(length)

    def remove(self, row: int) -> None:
        """Forget a sequence; see `JoinableCache`."""
        last, length = len(self.lengths) - 1, self.lengths.pop()
        if row != last:
            for part_LBGSE in (self.keys_LBGSE, self.values_LBGSE):
                part_LBGSE[:, row, :, :length] = part_LBGSE[:, last, :, :length]
            self.lengths[row] = length

    def prefix(self, row: int, length: int, capacity: int) -> Self | None:
        """Copy the first tokens of a row: what causal attention computes of them does not depend on later ones."""
        shape = list(self.keys_LBGSE.shape)
        shape[1], shape[3] = 1, capacity
        keys_LBGSE, values_LBGSE = self.keys_LBGSE.new_zeros(shape), self.values_LBGSE.new_zeros(shape)
        keys_LBGSE[:, 0, :, :length] = self.keys_LBGSE[:, row, :, :length]
        values_LBGSE[:, 0, :, :length] = self.values_LBGSE[:, row, :, :length]
        return type(self)(keys_LBGSE, values_LBGSE, [length])

    @property
    def token_bytes(self) -> int:
        """Bytes of one token's keys and values in all layers."""
        layers, _, groups, _, dim = self.keys_LBGSE.shape
        return 2 * layers * groups * dim * self.keys_LBGSE.element_size()


def grown(memory: Tensor, used_rows: int, row_dim: int, length: int, length_dim: int) -> Tensor:
    """Give memory room for one more row and for rows of `length`: the same where there is room, else twice as much.

    What is new is zero: masked positions are multiplied by zero, which must not be done with what is not finite.
    """
    rows, old_length = memory.shape[row_dim], memory.shape[length_dim]
    if rows > used_rows and old_length >= length:
        return memory
    shape = list(memory.shape)
    shape[row_dim] = doubled(rows, used_rows + 1)
    shape[length_dim] = doubled(old_length, length)
    larger = memory.new_zeros(shape)
    larger.narrow(row_dim, 0, rows).narrow(length_dim, 0, old_length).copy_(memory)
    return larger


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
        self._source_lengths: list[int] | None = None  # of each row, once sequences have joined

    @property
    def sources(self) -> tuple[Tensor, Tensor, Tensor]:
        """Keys, values and mask of the sources, up to the longest one's end."""
        rows = len(self.lengths)
        end = self.source_mask_B11S.shape[3] if self._source_lengths is None else max(self._source_lengths)
        return (
            self.source_keys_LBHSE[:, :rows, :, :end],
            self.source_values_LBHSE[:, :rows, :, :end],
            self.source_mask_B11S[:rows, :, :, :end],
        )

    def keep(self, rows: Sequence[int]) -> None:
        """Keep these sequences only, in this order."""
        super().keep(rows)
        index = torch.tensor(rows, dtype=torch.long, device=self.source_keys_LBHSE.device)
        self.source_keys_LBHSE = self.source_keys_LBHSE.index_select(1, index)
        self.source_values_LBHSE = self.source_values_LBHSE.index_select(1, index)
        self.source_mask_B11S = self.source_mask_B11S.index_select(0, index)

    def emptied(self) -> Self:
        """Make a cache of this kind without sequences; see `JoinableCache`."""
        keys_LBHSE, values_LBHSE = (part[:, :0, :, :0].clone() for part in (self.keys_LBGSE, self.values_LBGSE))
        source = (self.source_keys_LBHSE[:, :0, :, :0].clone(), self.source_values_LBHSE[:, :0, :, :0].clone())
        emptied = type(self)(keys_LBHSE, values_LBHSE, [], source, self.source_mask_B11S[:0, :, :, :0].clone())
        emptied._source_lengths = []
        return emptied

    def join(self, other: Cache, capacity: int) -> None:
        """Take in the only sequence of `other` and its source; see `JoinableCache`."""
        assert isinstance(other, EncoderDecoderCache)
        assert self._source_lengths is not None
        row, length = len(self.lengths), other.source_mask_B11S.shape[3]
        super().join(other, capacity)
        self._source_lengths.append(length)
        self.source_keys_LBHSE = grown(self.source_keys_LBHSE, row, 1, length, 3)
        self.source_values_LBHSE = grown(self.source_values_LBHSE, row, 1, length, 3)
        self.source_mask_B11S = grown(self.source_mask_B11S, row, 0, length, 3)
        self.source_keys_LBHSE[:, row, :, :length] = other.source_keys_LBHSE[:, 0]
        self.source_values_LBHSE[:, row, :, :length] = other.source_values_LBHSE[:, 0]
        self.source_mask_B11S[row] = False
        self.source_mask_B11S[row, :, :, :length] = other.source_mask_B11S[0]

    def remove(self, row: int) -> None:
        """Forget a sequence and its source; see `JoinableCache`."""
        assert self._source_lengths is not None
        last, length = len(self.lengths) - 1, self._source_lengths.pop()
        super().remove(row)
        if row != last:
            self._source_lengths[row] = length
            self.source_keys_LBHSE[:, row] = self.source_keys_LBHSE[:, last]
            self.source_values_LBHSE[:, row] = self.source_values_LBHSE[:, last]
            self.source_mask_B11S[row] = self.source_mask_B11S[last]

    def prefix(self, row: int, length: int, capacity: int) -> Self | None:
        """Refuse: a source is read in both directions, and a target has no prompt."""
        del row, length, capacity
        return None
