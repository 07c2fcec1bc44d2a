"""Attention weights, which a forward pass never holds in memory as a whole.

Shape suffixes: see `langmill.models.base`; S stands for the positions attended to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn


def attention_weights(q_BHTE: Tensor, k_BHSE: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """Compute softmax(q k^T scale + mask), `(batch, heads, T, S)` in float32 (Vaswani et al., 2017, equation 1).

    As in `scaled_dot_product_attention`, the mask is added to the scores, or boolean, true where a query may attend.
    """
    scores_BHTS = q_BHTE.float() @ k_BHSE.float().transpose(-1, -2) * scale
    if mask is not None:
        scores_BHTS = scores_BHTS.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores_BHTS + mask
    return scores_BHTS.softmax(dim=-1)


def recorded_weights(modules: Iterable[nn.Module], run: Callable[[], object]) -> Tensor:
    """Record the attention weights of a forward pass, `(layers, batch, heads, T, S)`.

    Hooks call each module's `weights` with the inputs of its `forward`, so that the ordinary forward pass is recorded.
    Not thread-safe: another thread that runs the same network would be recorded too. `run` runs each layer's attention
    module once, in order.
    """
    found: list[Tensor] = []

    def note(module: nn.Module, given: tuple[Any, ...]) -> None:
        found.append(cast("Any", module).weights(*given))

    handles = [module.register_forward_pre_hook(note) for module in modules]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return torch.stack(found)
