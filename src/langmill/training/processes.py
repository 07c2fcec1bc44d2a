"""Collective operations of a training's processes; each is the identity where there is only one process."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

ValueT = TypeVar("ValueT")


def is_distributed() -> bool:
    """Whether there is more than one process."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    """Number of this process among those of the training, from 0."""
    return dist.get_rank() if is_distributed() else 0


def all_reduce(values: Tensor) -> Tensor:
    """Sum a tensor over all processes; every process gets it."""
    if is_distributed():
        dist.all_reduce(values)
    return values


def mean(values: Tensor) -> Tensor:
    """Average a tensor over all processes; every process gets it."""
    return all_reduce(values) / dist.get_world_size() if is_distributed() else values


def all_gather(value: ValueT) -> list[ValueT]:
    """Collect every process's value (a tensor on the CPU, or what can be pickled), in order of rank."""
    if not is_distributed():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def broadcast(value: ValueT) -> ValueT:
    """Send the first process's value to every process."""
    if not is_distributed():
        return value
    held = [value]
    dist.broadcast_object_list(held, src=0)
    return held[0]


def random_state() -> Tensor:
    """State of this process's random generators, the CPU's and the GPU's, `(bytes,)`."""
    states = [torch.get_rng_state()]
    if torch.cuda.is_available():
        states.append(torch.cuda.get_rng_state())
    return torch.cat(states)


def set_random_state(state: Tensor) -> None:
    """Restore the state that `random_state` returned on the same kind of machine."""
    size = torch.get_rng_state().numel()
    torch.set_rng_state(state[:size].clone())
    if torch.cuda.is_available() and state.numel() > size:
        torch.cuda.set_rng_state(state[size:].clone())


def wait_for_all() -> None:
    """Wait until every process has come here: one that ended earlier would take along what others still read of it.

    A barrier of gloo's own is left by a process as soon as it has what it needs; the monitored one is left when the
    first process has heard of all others.
    """
    if is_distributed():
        dist.monitored_barrier() if dist.get_backend() == dist.Backend.GLOO else dist.barrier()
