"""Causal language models of `transformers`."""

from __future__ import annotations

import inspect

import torch
from torch import Tensor

from langmill.models.base import Cache, Kind
from langmill.models.huggingface.backbone import hidden_states
from langmill.models.huggingface.cache import PastKeyValues
from langmill.models.huggingface.generation import PretrainedGenerator, probe_tokens
from langmill.models.huggingface.loading import AUTO_CLASSES


class PretrainedCausal(PretrainedGenerator):
    """A language model."""

    kind = Kind.causal
    joins = True
    auto_class = AUTO_CLASSES[Kind.causal]

    def new_cache(self, batch_size: int, capacity: int | None = None) -> Cache:
        """Make an empty cache for `batch_size` sequences; it grows with them."""
        del capacity
        from transformers import DynamicCache

        return PastKeyValues(DynamicCache(), batch_size, None, self.embedding.weight.device)

    def _forward_from_cache(self, tokens_BT: Tensor, filled_BT: Tensor, cache: PastKeyValues) -> Tensor:
        named = {}
        if "position_ids" in inspect.signature(self.body.forward).parameters:
            steps_T = torch.arange(tokens_BT.shape[1], device=tokens_BT.device)
            positions_BT = torch.tensor(cache.lengths, device=tokens_BT.device)[:, None] + steps_T
            named = {"position_ids": positions_BT.clamp(max=self.max_length - 1)}
        return hidden_states(
            self.body,
            input_ids=tokens_BT,
            attention_mask=torch.cat([cache.filled_BS, filled_BT], dim=1).long(),
            past_key_values=cache.past,
            use_cache=True,
            **named,
        )

    def _logits_both_ways(self) -> list[tuple[Tensor, Tensor]]:
        head = self.language_model_head() or self.whole.get_output_embeddings()
        ids, tokens_BT, lengths_B = probe_tokens(self.vocab_size)
        pairs: list[tuple[Tensor, Tensor]] = []
        theirs = [self.whole(input_ids=row, use_cache=False).logits[0] for row in ids]
        together_BTV = head(self(tokens_BT, lengths_B))
        cache = self.new_cache(len(ids))
        first_BTV = head(self(tokens_BT, lengths_B, cache))
        next_B1 = torch.tensor([[2 % self.vocab_size], [4 % self.vocab_size]])
        second_BTV = head(self(next_B1, None, cache))
        for row, (own, length) in enumerate(zip(theirs, lengths_B.tolist(), strict=True)):
            longer = torch.cat([ids[row], next_B1[row : row + 1]], dim=1)
            pairs += [
                (own, together_BTV[row, :length]),
                (own, first_BTV[row, :length]),
                (self.whole(input_ids=longer, use_cache=False).logits[0, -1], second_BTV[row, 0]),
            ]
        return pairs
