"""Sharding of weights over processes (FSDP), and the weights of a network as a whole and in parts."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from langmill.errors import TrainingError
from langmill.training.bf16_weights import local
from langmill.training.blocks import repeated_blocks

_FULL_ON_CPU = StateDictOptions(full_state_dict=True, cpu_offload=True)


def shard(whole: nn.Module, mesh: DeviceMesh, *, bf16: bool = False) -> None:
    """Shard a network's weights over the processes, in place (ZeRO stage 3; Zhao et al., 2023).

    Each block is gathered and released by itself, the rest as one. With `bf16` weights are gathered in bf16, which
    halves what is sent and held, and gradients are summed in fp32; each process keeps its part of the weights as it is.
    """
    # Inputs are not cast: rotary positions stay in fp32, and the embedding's output is in bf16 already.
    policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
    policy = policy if bf16 else MixedPrecisionPolicy()
    for block in repeated_blocks(whole):
        fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(whole, mesh=mesh, mp_policy=policy)


def is_sharded(network: nn.Module) -> bool:
    """Whether this process holds only a part of the weights."""
    return any(isinstance(parameter, DTensor) for parameter in network.parameters())


def full_state(network: nn.Module, *, trained_only: bool = False) -> dict[str, Tensor]:
    """Copy all weights, or those that training changes, to the CPU.

    With sharding every process must call it, and only the first one gets them.
    """
    left_out = frozen_names(network) if trained_only else frozenset()
    if is_sharded(network):
        state: Mapping[str, object] = get_model_state_dict(network, options=_FULL_ON_CPU)
        return {name: value for name, value in state.items() if name not in left_out and isinstance(value, Tensor)}
    return {name: tensor.cpu().clone() for name, tensor in network.state_dict().items() if name not in left_out}


def frozen_names(network: nn.Module) -> frozenset[str]:
    """Names of the weights that training does not change; buffers are not among them."""
    return frozenset(
        name
        for name, tensor in network.state_dict(keep_vars=True).items()
        if isinstance(tensor, nn.Parameter) and not tensor.requires_grad
    )


def trained_state(network: nn.Module) -> dict[str, Tensor]:
    """Copy what training changes to the CPU: with sharding, this process's part of it.

    Frozen weights are those that the network began with, which the provenance names.
    """
    frozen = frozen_names(network)
    return {name: local(tensor).cpu().clone() for name, tensor in network.state_dict().items() if name not in frozen}


@torch.no_grad()
def load_trained_state(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load what `trained_state` returned on the same process of a training.

    Raises TrainingError where it is of another network.
    """
    own = network.state_dict()
    names = own.keys() - frozen_names(network)
    if state.keys() != names or any(state[name].shape != local(own[name]).shape for name in names):
        raise TrainingError("The checkpoint is of another network; remove it, and training begins again.", "mismatch")
    for name in names:
        local(own[name]).copy_(state[name])
