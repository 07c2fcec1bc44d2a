"""Muon: momentum matrices are orthogonalised before they update the weights.

torch has a Muon of its own, which iterates in bfloat16, one matrix at a time. On processors without bf16 units that
made a step 37% longer than AdamW's (two layers of width 128); in fp32, matrices of one shape together, it is 10%. On a
GPU with bf16 units the iteration is in bf16, as its authors made it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from langmill.training.bf16_weights import Rounding, local, sharded_like

# The quintic of Jordan et al. (2024): steep at zero, so that five iterations suffice; it does not converge to exactly
# one.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5
_TINY = 1e-7
_TOGETHER = 2**26
"""Weights that one process works on at once, so that the copies of a large network's matrices fit into memory."""


def orthogonalize(matrices_NRC: Tensor) -> Tensor:
    """Bring every singular value near one by a Newton-Schulz iteration (Jordan et al., 2024).

    Those of N matrices of R rows and C columns end between about 0.7 and 1.2 where they were not zero. The products are
    in the matrices' own number format.
    """
    a, b, c = _COEFFICIENTS
    tall = matrices_NRC.shape[1] > matrices_NRC.shape[2]
    x = matrices_NRC.mT if tall else matrices_NRC
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(_TINY)
    for _ in range(_ROUNDS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al., 2024) with Nesterov momentum, for matrices, also sharded ones.

    Updates are as large as AdamW's (Liu et al., 2025, eq. 4): about 0.2 times the learning rate, as a root mean square.
    `momentum` is the decay of the running mean of gradients; weight decay is decoupled.

    Of sharded matrices the processes take turns: each gathers whole ones, iterates those that are its own and sends the
    result to the others, so that no matrix is iterated twice.
    """

    def __init__(  # noqa: PLR0917  # as torch's optimizers
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        momentum: float,
        weight_decay: float,
        rounding: Rounding | None = None,
        bf16: bool = False,
    ) -> None:
        """Set up; `bf16` iterates in bf16 on a GPU, which the processor should have units for."""
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self._rounding = rounding or Rounding()
        self._bf16 = bf16

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Update the weights once."""
        assert closure is None  # the gradients are there
        for group in self.param_groups:
            by_shape: dict[tuple[torch.Size, bool], list[nn.Parameter]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault((parameter.shape, isinstance(parameter, DTensor)), []).append(parameter)
            for (shape, sharded), parameters in by_shape.items():
                for chosen in self._parts(shape, sharded, parameters):
                    self._move(group, shape, chosen, sharded=sharded)

    def _parts(self, shape: torch.Size, sharded: bool, parameters: list[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
        at_once = max(1, _TOGETHER // shape.numel())
        if sharded:
            at_once *= dist.get_world_size()
        for start in range(0, len(parameters), at_once):
            yield parameters[start : start + at_once]

    def _move(self, group: dict[str, Any], shape: torch.Size, parameters: list[nn.Parameter], *, sharded: bool) -> None:
        directions = [self._direction(group, parameter) for parameter in parameters]
        format_ = torch.bfloat16 if self._bf16 and directions[0].is_cuda else torch.float32
        if sharded:
            updates = _orthogonalize_sharded([direction.to(format_) for direction in directions])
        else:
            updates = list(orthogonalize(torch.stack(directions).to(format_)))
        size = 0.2 * math.sqrt(max(shape))
        for parameter, update in zip(parameters, updates, strict=True):
            weight = local(parameter)
            if weight.dtype == torch.float32:
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(update.to(weight.dtype), alpha=-group["lr"] * size)
            else:
                value = weight.float().mul_(1 - group["lr"] * group["weight_decay"])
                self._rounding.assign(weight, value.add_(update.float(), alpha=-group["lr"] * size))

    def _direction(self, group: dict[str, Any], parameter: nn.Parameter) -> Tensor:
        """The gradient with Nesterov momentum, in fp32; of a sharded matrix as a `DTensor`."""
        state = self.state[parameter]
        assert parameter.grad is not None
        gradient = local(parameter.grad).float()
        if "mean" not in state:
            state["mean"] = torch.zeros_like(gradient)
        mean = state["mean"].lerp_(gradient, 1 - group["momentum"])
        direction = gradient.lerp(mean, group["momentum"])
        return sharded_like(parameter, direction)


def _orthogonalize_sharded(directions: list[Tensor]) -> list[Tensor]:
    """Orthogonalise sharded matrices of one shape, round-robin over the processes; this process's part of each."""
    first = cast("DTensor", directions[0])
    mesh, rank, size = first.device_mesh, first.device_mesh.get_rank(), first.device_mesh.size()
    group = mesh.get_group()
    whole = [cast("DTensor", direction).full_tensor() for direction in directions]
    own = whole[rank::size]
    if own:
        whole[rank::size] = list(orthogonalize(torch.stack(own)))
    updates = []
    for number, (matrix, direction) in enumerate(zip(whole, directions, strict=True)):
        update = matrix.contiguous()
        if size > 1:
            dist.broadcast(update, src=dist.get_global_rank(group, number % size), group=group)
        updates.append(_own_rows(update, cast("DTensor", direction)))
    return updates


def _own_rows(matrix: Tensor, like: DTensor) -> Tensor:
    """This process's part of a whole matrix, sharded by rows as `like` is."""
    mesh = like.device_mesh
    rows = -(-matrix.shape[0] // mesh.size())  # as torch.chunk divides them: the last processes may have fewer
    start = mesh.get_local_rank() * rows
    return matrix[start : start + rows]
