"""A network's repeated blocks: compiled once for all of them, and recomputed in the backward pass to save memory.

A block is an item of a `nn.ModuleList`, as in a Transformer's stack. Only `forward` is replaced, on the block itself:
names of weights, hooks and evaluation stay as they are.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from langmill.errors import TrainingError
from langmill.models.heads import TokenHead


def repeated_blocks(whole: nn.Module) -> list[nn.Module]:
    """The items of each outermost `nn.ModuleList`, in order; none where nothing is repeated."""
    if isinstance(whole, nn.ModuleList):
        return list(whole)
    return [block for child in whole.children() for block in repeated_blocks(child)]


def prepare_blocks(whole: nn.Module, *, compiled: bool, recomputed: bool) -> None:
    """Compile the blocks for steps with gradients, or have their activations recomputed, or both, in place.

    Blocks that are alike share what was compiled; the loss of a head over the vocabulary is compiled too. `recomputed`
    keeps a block's input alone and computes the rest again in the backward pass, with the same dropout (Chen et al.,
    2016, activation checkpointing): gradients are the same for a third more operations. Raises TrainingError where
    there are no blocks to recompute.
    """
    blocks = repeated_blocks(whole)
    if recomputed and not blocks:
        raise TrainingError(
            "training.activation_checkpointing is true, but this network has no repeated blocks, so that there is "
            "nothing to recompute; set it to false.",
            "unsupported",
        )
    for block in blocks:
        block.forward = _learning(block.forward, compiled=compiled, recomputed=recomputed)
    for module in whole.modules():
        if isinstance(module, TokenHead):
            module.fuse_loss = compiled


def _learning(plain: Callable[..., Any], *, compiled: bool, recomputed: bool) -> Callable[..., Any]:
    learn = torch.compile(plain) if compiled else plain

    @functools.wraps(plain)
    def forward(*inputs: Any, **named: Any) -> Any:
        if not torch.is_grad_enabled():  # compiling anew for validation takes longer than it saves
            return plain(*inputs, **named)
        if recomputed:
            return checkpoint(learn, *inputs, use_reentrant=False, **named)
        return learn(*inputs, **named)

    return forward
