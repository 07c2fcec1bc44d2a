"""Root-mean-square normalisation (Zhang & Sennrich, 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from langmill.models.functions import rms_norm


class RMSNorm(nn.Module):
    """Scale to a root mean square of one, times learned norm weights."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Normalise the input, in its own number format."""
        return rms_norm(x_BTD, self.weight, self.eps)
