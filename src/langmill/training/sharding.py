"""Sharding of weights over processes (FSDP), and their full state dicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from langmill.training.optimizer import ScheduledOptimizer

_FULL_ON_CPU = StateDictOptions(full_state_dict=True, cpu_offload=True)


def shard(whole: nn.Module, mesh: DeviceMesh) -> None:
    """Shard a network's weights over the processes, in place (ZeRO stage 3; Zhao et al., 2023).

    Each item of a `nn.ModuleList` (a transformer's block) is gathered and released by itself, the rest as one.
    """
    for module in list(whole.modules()):
        if isinstance(module, nn.ModuleList):
            for block in module:
                fully_shard(block, mesh=mesh)
    fully_shard(whole, mesh=mesh)


def is_sharded(network: nn.Module) -> bool:
    """Whether this process holds only a part of the weights."""
    return any(isinstance(parameter, DTensor) for parameter in network.parameters())


def full_state(network: nn.Module) -> dict[str, Tensor]:
    """Copy all weights to the CPU; with sharding every process must call it, and only the first one gets them."""
    if is_sharded(network):
        return dict(get_model_state_dict(network, options=_FULL_ON_CPU))  # type: ignore[arg-type]  # all are tensors
    return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}


def load_full_state(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a full state dict into a network; every process has read it."""
    if is_sharded(network):
        set_model_state_dict(network, dict(state), options=StateDictOptions(full_state_dict=True))
    else:
        network.load_state_dict(state)


def full_optimizer_state(network: nn.Module, optimizer: ScheduledOptimizer) -> dict[str, Any]:
    """Full state of the optimizer; with sharding every process must call it, and only the first one gets it."""
    if not is_sharded(network):
        return optimizer.state_dict()
    states = [get_optimizer_state_dict(network, inner, options=_FULL_ON_CPU) for inner in optimizer.optimizers]
    return {"steps_made": optimizer.steps_made, "optimizers": states}


def load_full_optimizer_state(network: nn.Module, optimizer: ScheduledOptimizer, state: Mapping[str, Any]) -> None:
    """Load a full state into the optimizer; every process has read it."""
    if not is_sharded(network):
        optimizer.load_state_dict(state)
        return
    optimizer.steps_made = int(state["steps_made"])
    for inner, values in zip(optimizer.optimizers, state["optimizers"], strict=True):
        set_optimizer_state_dict(network, inner, values, options=StateDictOptions(full_state_dict=True))
