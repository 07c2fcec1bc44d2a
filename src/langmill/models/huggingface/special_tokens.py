"""The special-token template of a pretrained tokenizer, as in `[CLS] … [SEP]`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from langmill.errors import ModelError

INSERTED = "<|langmill-end|>"
"""The name, in a `tokenizer.json`'s template, of the end-of-text token that Langmill adds by itself."""


@dataclass(frozen=True)
class SpecialTokenTemplate:
    """The ids of the special tokens that a tokenizer puts before and after every text.

    In the file of a model that we saved the end-of-text token that a task adds stands inside it, under the name
    `INSERTED`; it is no part of the template.
    """

    prefix: tuple[int, ...]
    suffix: tuple[int, ...]

    @classmethod
    def read(cls, file: Path, end: int | None = None) -> Self:
        """Read the template of a `tokenizer.json`.

        Args:
            file: The file.
            end: The end-of-text token that the task puts after every text: a template that has it there too, as T5's,
                is read without it. Models that were made with both, whose file says so by `INSERTED`, keep both.

        Raises:
            ModelError: The file can't be read.
        """
        import tokenizers

        try:
            tokenizer = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises the bare class
            raise ModelError(f"{file} is not a tokenizer: {str(error).rstrip('.')}.", code="unreadable") from error
        tokenizer.no_padding()
        tokenizer.no_truncation()
        bare, whole = (tokenizer.encode("a", add_special_tokens=special).ids for special in (False, True))
        start = next((at for at in range(len(whole)) if whole[at : at + len(bare)] == bare), 0) if bare else 0
        single = (json.loads(tokenizer.to_str())["post_processor"] or {}).get("single", [])
        inserted = [part.get("SpecialToken", {}).get("id") == INSERTED for part in single]
        before = sum(inserted[: next((at for at, part in enumerate(single) if "Sequence" in part), 0)])
        prefix, suffix = whole[: start - before], whole[start + len(bare) + sum(inserted) - before :]
        if end is not None and suffix[:1] == [end] and not any(inserted):
            suffix = suffix[1:]
        return cls(tuple(prefix), tuple(suffix))

    def __len__(self) -> int:
        return len(self.prefix) + len(self.suffix)

    def mask(self, num_tokens: int, lengths_B: Tensor | None) -> Tensor | None:
        """Mask `(batch, num_tokens + template)` with 1 at real and special tokens; None where nothing is padded."""
        if lengths_B is None:
            return None
        return (torch.arange(num_tokens + len(self), device=lengths_B.device) < lengths_B[:, None] + len(self)).long()

    def wrap(self, tokens_BT: Tensor, lengths_B: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Put the special tokens around each sequence's real tokens; return both with their mask (see `mask`)."""
        batch_size, num_tokens = tokens_BT.shape
        mask_BT = self.mask(num_tokens, lengths_B)
        if not len(self):
            return tokens_BT, mask_BT
        wrapped_BT = F.pad(tokens_BT, (len(self.prefix), len(self.suffix)))
        wrapped_BT[:, : len(self.prefix)] = torch.tensor(self.prefix, dtype=torch.long, device=tokens_BT.device)
        rows_B = torch.arange(batch_size, device=tokens_BT.device)
        ends_B = torch.full_like(rows_B, num_tokens) if lengths_B is None else lengths_B
        for offset, number in enumerate(self.suffix, start=len(self.prefix)):
            wrapped_BT[rows_B, ends_B + offset] = number
        return wrapped_BT, mask_BT
