"""The gated recurrent unit (Cho et al., 2014, in the form that applies the reset gate after the product).

    r_t = σ(W_r x_t + b_r + U_r h_{t-1} + c_r)              how much of the past is read
    z_t = σ(W_z x_t + b_z + U_z h_{t-1} + c_z)              what is kept
    n_t = tanh(W_n x_t + b_n + r_t ⊙ (U_n h_{t-1} + c_n))   what might come in
    h_t = (1 - z_t) ⊙ n_t + z_t ⊙ h_{t-1}

torch stacks the gates in the order r, z, n: W = `weight_ih`, U = `weight_hh`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from langmill.models.base import ARCHITECTURES
from langmill.models.recurrent import Recurrent


@ARCHITECTURES.register("gru")
class GatedRecurrentUnit(Recurrent):
    """A stack of GRU layers."""

    name = "gru"
    layers_class = nn.GRU
    run_layers = staticmethod(torch.gru)
    num_gates = 3

    @staticmethod
    def step(gates_BG: Tensor, states: tuple[Tensor, ...], weight_GD: Tensor, bias_G: Tensor) -> tuple[Tensor, ...]:
        """Compute h_t; see `Recurrent.step`."""
        (h_BD,) = states
        reset_BD, update_BD, new_BD = gates_BG.chunk(3, dim=1)
        past_reset_BD, past_update_BD, past_new_BD = F.linear(h_BD, weight_GD, bias_G).chunk(3, dim=1)
        r_BD, z_BD = (reset_BD + past_reset_BD).sigmoid(), (update_BD + past_update_BD).sigmoid()
        n_BD = (new_BD + r_BD * past_new_BD).tanh()
        return ((1 - z_BD) * n_BD + z_BD * h_BD,)
