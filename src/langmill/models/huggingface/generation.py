"""The base class of generating networks of `transformers`: cache, language model head, and a check of both."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from langmill.errors import ModelError
from langmill.models.base import Cache, Kind, own_cache
from langmill.models.huggingface.backbone import Pretrained
from langmill.models.huggingface.cache import PastKeyValues
from langmill.models.huggingface.heads import BiasedHead

_PROBE = ((3, 5, 7, 11, 13), (17, 19))  # token ids of every vocabulary, in two sequences of unequal length
_TOLERANCE = 1e-4


class PretrainedGenerator(Pretrained):
    """A network that predicts the next token."""

    def language_model_head(self) -> nn.Module | None:
        """The checkpoint's own head; None where it is the token embedding and nothing else."""
        own: nn.Module = self.whole.get_output_embeddings()
        if getattr(own, "bias", None) is None and not hasattr(self.whole, "final_logits_bias"):
            return None if self.tie_embeddings else own
        return BiasedHead(self.whole, own, tied=self.tie_embeddings)

    def forward(self, tokens_BT: Tensor, lengths_B: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        """Compute the hidden states `(batch, length, dim)`; see `Backbone.forward`.

        Raises ModelError where a sequence is too long, or the cache is not one of this network for so many sequences;
        an encoder-decoder's, which `begin` makes, must not be missing.
        """
        if cache is None and self.kind is Kind.causal:
            return super().forward(tokens_BT, lengths_B)
        batch_size, num_tokens = tokens_BT.shape
        cache = own_cache(cache, PastKeyValues, batch_size)
        self.refuse_length(cache.length + num_tokens)
        if lengths_B is None:
            filled_BT = torch.ones(batch_size, num_tokens, dtype=torch.bool, device=tokens_BT.device)
        else:
            filled_BT = torch.arange(num_tokens, device=tokens_BT.device) < lengths_B[:, None]
        hidden_BTD = self._forward_from_cache(tokens_BT, filled_BT, cache)
        cache.record(filled_BT)
        return hidden_BTD

    @abstractmethod
    def _forward_from_cache(self, tokens_BT: Tensor, filled_BT: Tensor, cache: PastKeyValues) -> Tensor:
        """Compute the hidden states of tokens after those in a cache; `filled_BT` is true at real ones."""

    @torch.no_grad()
    def _check(self, base: Path) -> None:
        """Check that our way to run the model gives its own logits, also in a batch and with a cache.

        Models of `transformers` differ between the hidden states and the logits, and in their positions. So a few
        tokens are tried before training. Raises ModelError where the logits differ.
        """
        was_training = self.training
        self.eval()
        pairs = self._logits_both_ways()
        self.train(was_training)
        worst = max(float((own - ours).abs().max() / own.abs().max().clamp(min=1.0)) for own, ours in pairs)
        if not worst <= _TOLERANCE:
            raise ModelError(
                f"{self.language_model} in {base} computes its logits in a way that Langmill does not know (they "
                f"differ by {worst:.2g} of the largest); it can't be fine-tuned here.",
                code="unsupported",
            )

    @abstractmethod
    def _logits_both_ways(self) -> list[tuple[Tensor, Tensor]]:
        """Compute logits of a few tokens as the model does and as Langmill does, in pairs of one shape."""


def probe_tokens(vocab_size: int) -> tuple[list[Tensor], Tensor, Tensor]:
    """Make sequences, `(1, length)` each; the same padded, `(batch, length)`; and their lengths, `(batch,)`."""
    ids = [torch.tensor([[number % vocab_size for number in row]]) for row in _PROBE]
    longest = max(row.shape[1] for row in ids)
    tokens_BT = torch.cat([F.pad(row, (0, longest - row.shape[1])) for row in ids])
    return ids, tokens_BT, torch.tensor([row.shape[1] for row in ids])
