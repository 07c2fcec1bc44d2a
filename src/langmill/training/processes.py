"""What the processes of one training tell each other; every function is the identity where there is only one."""

from __future__ import annotations

from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

ValueT = TypeVar("ValueT")


def several() -> bool:
    """Whether there is more than one."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def total(values: Tensor) -> Tensor:
    """The sum of a tensor over all processes, at every process."""
    if several():
        dist.all_reduce(values)
    return values


def mean(values: Tensor) -> Tensor:
    """The mean of a tensor over all processes, at every process."""
    return total(values) / dist.get_world_size() if several() else values


def of_all(value: Tensor) -> list[Tensor]:
    """Every process's tensor (all of one shape, on the CPU), in order of rank."""
    if not several():
        return [value]
    values: list[Tensor | None] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return [item for item in values if item is not None]


def from_first(value: ValueT) -> ValueT:
    """The first process's value, at every process."""
    if not several():
        return value
    held = [value]
    dist.broadcast_object_list(held, src=0)
    return held[0]


def random_state() -> Tensor:
    """The state of this process's generators, the CPU's and the card's, in one row of bytes."""
    states = [torch.get_rng_state()]
    if torch.cuda.is_available():
        states.append(torch.cuda.get_rng_state())
    return torch.cat(states)


def set_random_state(state: Tensor) -> None:
    """Put back what `random_state` gave on the same kind of machine."""
    size = torch.get_rng_state().numel()
    torch.set_rng_state(state[:size].clone())
    if torch.cuda.is_available() and state.numel() > size:
        torch.cuda.set_rng_state(state[size:].clone())
