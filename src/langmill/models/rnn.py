"""The plain recurrent network (Elman, 1990).

    h_t = tanh(W x_t + b + U h_{t-1} + c)

with x_t the token's embedding (or the state of the layer below), W = `weight_ih`, U = `weight_hh`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from langmill.models.base import ARCHITECTURES
from langmill.models.recurrent import Recurrent


@ARCHITECTURES.register("rnn")
class ElmanNetwork(Recurrent):
    """A stack of plain recurrent layers."""

    name = "rnn"
    layers_class = nn.RNN
    run_layers = staticmethod(torch.rnn_tanh)
    num_gates = 1

    @staticmethod
    def step(gates_BG: Tensor, states: tuple[Tensor, ...], weight_GD: Tensor, bias_G: Tensor) -> tuple[Tensor, ...]:
        """Compute h_t; see `Recurrent.step`."""
        return ((gates_BG + F.linear(states[0], weight_GD, bias_G)).tanh(),)
