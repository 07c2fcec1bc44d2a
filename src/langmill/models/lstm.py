"""Long short-term memory (Hochreiter & Schmidhuber, 1997; the forget gate is Gers et al., 2000).

    i_t = σ(W_i x_t + b_i + U_i h_{t-1} + c_i)        what comes in
    f_t = σ(W_f x_t + b_f + U_f h_{t-1} + c_f)        what is kept
    g_t = tanh(W_g x_t + b_g + U_g h_{t-1} + c_g)     what might come in
    o_t = σ(W_o x_t + b_o + U_o h_{t-1} + c_o)        what is shown
    s_t = f_t ⊙ s_{t-1} + i_t ⊙ g_t                   the cell
    h_t = o_t ⊙ tanh(s_t)

torch stacks the gates in the order i, f, g, o: W = `weight_ih`, U = `weight_hh`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from langmill.models.base import ARCHITECTURES
from langmill.models.recurrent import Recurrent


@ARCHITECTURES.register("lstm")
class LongShortTermMemory(Recurrent):
    """A stack of LSTM layers."""

    name = "lstm"
    layers_class = nn.LSTM
    run_layers = staticmethod(torch.lstm)
    num_gates = 4
    num_states = 2

    @torch.no_grad()
    def initialise(self) -> None:
        """Initialise as `Recurrent`, with the forget gate's bias at 1 (Jozefowicz et al., 2015)."""
        super().initialise()
        for name, bias in self.layers.named_parameters():
            if name.startswith("bias_ih"):
                bias[self.dim : 2 * self.dim] = 1.0

    @staticmethod
    def step(gates_BG: Tensor, states: tuple[Tensor, ...], weight_GD: Tensor, bias_G: Tensor) -> tuple[Tensor, ...]:
        """Compute h_t and c_t; see `Recurrent.step`."""
        h_BD, c_BD = states
        i_BD, f_BD, g_BD, o_BD = (gates_BG + F.linear(h_BD, weight_GD, bias_G)).chunk(4, dim=1)
        c_BD = f_BD.sigmoid() * c_BD + i_BD.sigmoid() * g_BD.tanh()
        return o_BD.sigmoid() * c_BD.tanh(), c_BD
