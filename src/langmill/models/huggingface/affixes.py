"""The special tokens that a tokenizer puts around a text.

Shape suffixes: see `langmill.models.base`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from langmill.errors import ModelError


@dataclass(frozen=True)
class Affixes:
    """The special tokens that a tokenizer puts around a text, as in `[CLS] … [SEP]`."""

    before: tuple[int, ...]
    after: tuple[int, ...]

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read them from a `tokenizer.json`; an end-of-text token that is put there anyhow is left out of `after`.

        Raises:
            ModelError: The file can't be read.
        """
        import tokenizers

        try:
            tokenizer = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises the bare class
            raise ModelError(f"{file} is not a tokenizer: {error}.") from error
        tokenizer.no_padding()
        tokenizer.no_truncation()
        bare, whole = (tokenizer.encode("a", add_special_tokens=special).ids for special in (False, True))
        place = next((at for at in range(len(whole)) if whole[at : at + len(bare)] == bare), 0) if bare else 0
        return cls(tuple(whole[:place]), tuple(whole[place + len(bare) :]))

    def __len__(self) -> int:
        return len(self.before) + len(self.after)

    def mask(self, num_tokens: int, lengths_B: Tensor | None) -> Tensor | None:
        """One at real tokens, affixes included, `(batch, num_tokens + affixes)`; None where nothing is padded."""
        if lengths_B is None:
            return None
        return (torch.arange(num_tokens + len(self), device=lengths_B.device) < lengths_B[:, None] + len(self)).long()

    def put(self, tokens_BT: Tensor, lengths_B: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The tokens with the affixes around each sequence's real ones, and the mask of the real ones."""
        batch_size, num_tokens = tokens_BT.shape
        mask_BT = self.mask(num_tokens, lengths_B)
        if not len(self):
            return tokens_BT, mask_BT
        wrapped_BT = F.pad(tokens_BT, (len(self.before), len(self.after)))
        wrapped_BT[:, : len(self.before)] = torch.tensor(self.before, dtype=torch.long, device=tokens_BT.device)
        rows_B = torch.arange(batch_size, device=tokens_BT.device)
        ends_B = torch.full_like(rows_B, num_tokens) if lengths_B is None else lengths_B
        for place, number in enumerate(self.after, start=len(self.before)):
            wrapped_BT[rows_B, ends_B + place] = number
        return wrapped_BT, mask_BT
