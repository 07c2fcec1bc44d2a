"""Weights held in bf16, and AdamW for them.

A step changes most weights by less than bf16's spacing, so rounding to the nearest would lose the change. It is rounded
up or down at random instead, so that the mean is right (Gupta et al., 2015; Zamirai et al., 2020): as good as fp32
weights in training, at 12 bytes a weight with the fp32 moments instead of 16. See
docs/decisions/0323-weights-in-bf16.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

_DROPPED_BITS = 16  # of fp32's mantissa
_KEPT = -(2**_DROPPED_BITS)


def hold_in_bf16(network: nn.Module) -> None:
    """Convert a network's weights to bf16, in place; where some are frozen, those alone.

    An adapter or a new head beside frozen weights is small, and learns at a large rate: it stays in fp32.
    """
    weights = list(network.parameters())
    frozen = [weight for weight in weights if not weight.requires_grad]
    for weight in frozen or weights:
        weight.data = weight.data.to(torch.bfloat16)


class Rounding:
    """Stochastic rounding, as a pure function of the step: every process of a training draws the same."""

    def __init__(self) -> None:
        self._generators: dict[torch.device, torch.Generator] = {}
        self._step = 0

    def begin(self, step: int) -> None:
        """Begin an optimizer step."""
        self._step = step
        self._generators.clear()

    def assign(self, weight: Tensor, value: Tensor) -> None:
        """Set a weight, on this process, to a value in fp32."""
        if weight.dtype == torch.bfloat16:
            generator = self._generators.get(weight.device)
            if generator is None:
                generator = torch.Generator(weight.device).manual_seed(self._step)
                self._generators[weight.device] = generator
            value = round_stochastically(value, generator)
        weight.copy_(value)


def round_stochastically(values: Tensor, generator: torch.Generator) -> Tensor:
    """Round fp32 to bf16: to the neighbour above or below, with the chance of each such that the mean is exact."""
    noise = torch.randint(2**_DROPPED_BITS, values.shape, generator=generator, dtype=torch.int32, device=values.device)
    # Bits of the same sign are in the order of their size: a carry makes the next larger bf16.
    return noise.add_(values.contiguous().view(torch.int32)).bitwise_and_(_KEPT).view(torch.float32).to(torch.bfloat16)


def local(tensor: Tensor) -> Tensor:
    """This process's part of a tensor; of one that is not sharded all of it."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def sharded_like(parameter: Tensor, part: Tensor) -> Tensor:
    """Make a tensor that is sharded as a parameter is of this process's part; where it is not sharded, that is all."""
    if not isinstance(parameter, DTensor):
        return part
    return DTensor.from_local(
        part,
        parameter.device_mesh,
        parameter.placements,
        run_check=False,
        shape=parameter.shape,
        stride=parameter.stride(),
    )


class RoundingAdamW(torch.optim.Optimizer):
    """AdamW (Loshchilov and Hutter, 2019) in fp32 on weights in bf16; `rounding` rounds them."""

    def __init__(
        self, groups: Iterable[dict[str, Any]], lr: float, betas: tuple[float, float], rounding: Rounding
    ) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": 1e-8, "weight_decay": 0.0})
        self._rounding = rounding

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Update the weights once."""
        assert closure is None  # the gradients are there
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(group, parameter)

    def _move(self, group: dict[str, Any], parameter: nn.Parameter) -> None:
        assert parameter.grad is not None
        state, weight, gradient = self.state[parameter], local(parameter), local(parameter.grad).float()
        if not state:
            zeros = torch.zeros_like(weight, dtype=torch.float32)
            state |= {"step": 0, "exp_avg": zeros, "exp_avg_sq": zeros.clone()}
        state["step"] += 1
        one, two = group["betas"]
        mean = state["exp_avg"].lerp_(gradient, 1 - one)
        square = state["exp_avg_sq"].mul_(two).addcmul_(gradient, gradient, value=1 - two)
        scale = square.sqrt().div_(math.sqrt(1 - two ** state["step"])).add_(group["eps"])
        value = weight.float().mul_(1 - group["lr"] * group["weight_decay"])
        value.addcdiv_(mean, scale, value=-group["lr"] / (1 - one ** state["step"]))
        self._rounding.assign(weight, value)
