"""Linear layers with the same input, joined: one product where several would each wait for memory and for Python."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from langmill.models.functions import is_large_for, product_of_few
from langmill.models.undrawn import weights_are_undefined


class Joined:
    """The weights of one or several layers in one piece of memory, of which each layer's own weights are views.

    Nothing is stored twice, and weights that are loaded or changed in place are changed here too.
    """

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        biases = [layer.bias for layer in layers]
        self._bias = None if biases[0] is None else torch.cat([bias.detach() for bias in biases])
        if len(layers) == 1:
            self._weight = layers[0].weight.detach()
        else:
            weights = [layer.weight.detach() for layer in layers]
            rows = sum(map(len, weights))
            self._weight = weights[0].new_empty(rows, weights[0].shape[1])
            if not weights_are_undefined():
                torch.cat(weights, out=self._weight)
        start = 0
        for layer in layers:
            own = slice(start, start := start + layer.out_features)
            layer.weight.data = self._weight[own]
            if self._bias is not None:
                layer.bias.data = self._bias[own]
        self._transposed = self._weight.t()

    def is_of(self, layers: Sequence[nn.Module]) -> bool:
        """Whether these layers compute with the weights here: they may have been moved, replaced, or given others."""
        start = 0
        for layer in layers:
            if type(layer) is not nn.Linear or layer.weight.data_ptr() != self._weight[start:].data_ptr():
                return False
            start += layer.out_features
        return True

    def __call__(self, x: Tensor) -> Tensor:
        """Compute the outputs of all layers, one after the other in the last dimension."""
        return product_of_few(x, self._weight, self._bias)

    def add_to(self, sum_BO: Tensor, x_BI: Tensor) -> None:
        """Add the outputs to `sum_BO`."""
        if is_large_for(x_BI, self._weight):
            sum_BO += product_of_few(x_BI, self._weight)
        else:
            sum_BO.addmm_(x_BI, self._transposed)
        if self._bias is not None:
            sum_BO += self._bias
