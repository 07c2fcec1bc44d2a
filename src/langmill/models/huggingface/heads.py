"""Heads of networks of `transformers`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from torch import Tensor, nn
from torch.nn import functional as F


class ClassificationHead(nn.Module):
    """The head of a model of `transformers` for sequence classification.

    The forward pass, `logits`, runs the whole model; only the modules above the body are registered here.
    """

    def __init__(self, whole: Any, body: nn.Module, logits: Callable[[Tensor, Tensor | None], Tensor]) -> None:
        super().__init__()
        self._logits = logits
        for name, part in whole.named_children():
            if part is not body:
                self.add_module(name, part)

    def forward(self, tokens_BT: Tensor, lengths_B: Tensor | None) -> Tensor:
        """Compute the logits `(batch, labels)`."""
        return self._logits(tokens_BT, lengths_B)


class BiasedHead(nn.Module):
    """A linear head with a bias for each token: the layer's own, or a separate one (BART)."""

    final_logits_bias: Tensor | None

    def __init__(self, whole: Any, linear: Any, *, tied: bool) -> None:
        super().__init__()
        self._linear = (linear,)
        if not tied:
            self.linear = linear
        elif linear.bias is not None:
            self.linear_bias = linear.bias
        self.register_buffer("final_logits_bias", getattr(whole, "final_logits_bias", None))

    @property
    def weight(self) -> Tensor:
        """The matrix `(vocabulary, dim)`."""
        return cast("Tensor", self._linear[0].weight)

    @property
    def bias(self) -> Tensor:
        """The bias `(vocabulary,)`, or the sum of both."""
        biases: list[Tensor] = [bias for bias in (self._linear[0].bias, self.final_logits_bias) if bias is not None]
        return sum(biases[1:], biases[0])

    def forward(self, hidden_BTD: Tensor) -> Tensor:
        """Compute the logits `(batch, length, vocabulary)`."""
        return F.linear(hidden_BTD, self.weight) + self.bias
