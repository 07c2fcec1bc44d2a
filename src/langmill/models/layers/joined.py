"""Linear layers with the same input, joined: one product where several would each wait for memory and for Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Joined:
    """The weights of several layers in one piece of memory, of which each layer's own weights are views.

    Nothing is stored twice, and weights that are loaded or changed in place are changed here too. `of` tells whether
    the layers still are these: they may have been moved, replaced, or been given other weights.
    """

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        self._weight = torch.cat([layer.weight.detach() for layer in layers])
        biases = [layer.bias for layer in layers]
        self._bias = None if biases[0] is None else torch.cat([bias.detach() for bias in biases])
        ends, start = 0, self._weight.data_ptr()
        self._offsets: list[int] = []  # in bytes; a copy of this object has its memory elsewhere
        for layer in layers:
            rows = slice(ends, ends := ends + layer.out_features)
            layer.weight.data = self._weight[rows]
            if self._bias is not None:
                layer.bias.data = self._bias[rows]
            self._offsets.append(layer.weight.data_ptr() - start)

    @classmethod
    def of(cls, joined: Self | None, layers: Sequence[nn.Module]) -> Self | None:
        """`joined`, if it is there and is still what the layers compute with; else None."""
        if joined is None or torch.is_grad_enabled():
            return None
        start = joined._weight.data_ptr()
        for layer, offset in zip(layers, joined._offsets, strict=True):
            if type(layer) is not nn.Linear or layer.weight.data_ptr() != start + offset:
                return None
        return joined

    def __call__(self, x: Tensor) -> Tensor:
        """Compute the outputs of all layers, one after the other in the last dimension."""
        return F.linear(x, self._weight, self._bias)
