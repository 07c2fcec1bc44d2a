"""A bidirectional encoder in EuroBERT's shape (Boizard et al., 2025), with Hugging Face's parameter names.

The blocks are those of `langmill.models.layers.llama`; every token attends to every token of its text.
"""

from __future__ import annotations

import torch
from torch import Tensor

from langmill.errors import ModelError
from langmill.models.base import ARCHITECTURES, Cache, Kind, refuse_length
from langmill.models.layers.llama import Positions
from langmill.models.transformer import Transformer


@ARCHITECTURES.register("encoder")
class Encoder(Transformer):
    """A Transformer with bidirectional attention, for classification and masked language modelling."""

    kind = Kind.bidirectional
    language_model = "EuroBertForMaskedLM"
    model_type = "eurobert"

    def forward(self, tokens_BT: Tensor, lengths_B: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        """Compute the hidden states `(batch, length, dim)` after the last norm; see `Backbone.forward`.

        Raises ModelError where a sequence is longer than `max_length`, or there is a cache.
        """
        if cache is not None:
            raise ModelError("An encoder reads a whole text at once, so it takes no cache.", code="unsupported")
        num_tokens = tokens_BT.shape[1]
        refuse_length(num_tokens, self.max_length)
        positions = Positions(*self.rotary(num_tokens), causal=False)
        if lengths_B is not None:
            seen_BS = torch.arange(num_tokens, device=tokens_BT.device) < lengths_B[:, None]
            positions.mask = seen_BS[:, None, None]
        return self.run(tokens_BT, positions)
