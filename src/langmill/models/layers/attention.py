"""The weights of attention, which a forward pass never has in memory as a whole.

Shape suffixes: see `langmill.models.base`; S stands for the places that are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn


def attention_weights(q_BHTE: Tensor, k_BHSE: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """softmax(q k^T scale + mask), `(batch, heads, T, S)` in float32 (Vaswani et al., 2017, equation 1).

    Args:
        q_BHTE: Queries.
        k_BHSE: Keys.
        mask: As `scaled_dot_product_attention` takes it: added to the scores, or of truth values, true where a token
            may look.
        scale: What the products are multiplied with.
    """
    scores_BHTS = q_BHTE.float() @ k_BHSE.float().transpose(-1, -2) * scale
    if mask is not None and mask.dtype == torch.bool:
        scores_BHTS = scores_BHTS.masked_fill(~mask, -torch.inf)
    elif mask is not None:
        scores_BHTS = scores_BHTS + mask
    return scores_BHTS.softmax(dim=-1)


def recorded_weights(modules: Iterable[nn.Module], run: Callable[[], object]) -> Tensor:
    """The `weights` of attention modules at what they are given while `run` runs, `(layers, batch, heads, T, S)`.

    The ordinary forward pass runs, so that what is found is what the network does, and the pass itself knows nothing of
    it. For one thread: another one that runs the same network meanwhile would be recorded_weights too.

    Args:
        modules: One a layer, in the order in which they run; `weights` takes what `forward` takes.
        run: Runs each of them once.
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
