"""Parameter groups, the learning rate schedule, and several optimizers as one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from langmill.config.sections import Optimizer as OptimizerSettings
from langmill.config.sections import OptimizerName
from langmill.training.bf16_weights import Rounding, RoundingAdamW, sharded_like
from langmill.training.muon import Muon

_SHARD = "shard"


def schedule(step: int, steps: int, warmup_steps: int, final_fraction: float) -> float:
    """Share of the peak learning rate at a step: linear warm-up, then a half cosine (Loshchilov & Hutter, 2017).

    Args:
        step: The optimizer step about to be made, from 0.
        steps: Optimizer steps in the whole training.
        warmup_steps: Steps until the peak is reached; step `warmup_steps - 1` is the first at the peak.
        final_fraction: The share at the last step.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step + 1 - warmup_steps) / (steps - warmup_steps)
    return final_fraction + (1 - final_fraction) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


class ScheduledOptimizer:
    """One or several torch optimizers that step together, with one learning rate schedule.

    Lightning takes it for an optimizer (its `Optimizable` protocol). The optimizers have disjoint parameters, and a
    group's `lr` is its peak; `course` gives the share of it at a step, counted from 0. That depends on the number of
    steps made alone, which is part of the state: nothing else has to be restored for an exact resume.
    """

    def __init__(
        self, optimizers: list[torch.optim.Optimizer], course: Callable[[int], float], rounding: Rounding | None = None
    ) -> None:
        self.optimizers = optimizers
        self.course = course
        self.rounding = rounding or Rounding()
        self.steps_made = 0
        for group in self.param_groups:
            group["peak_lr"] = group["lr"]

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all optimizers."""
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    @property
    def defaults(self) -> dict[str, Any]:
        """The defaults of the first optimizer."""
        return self.optimizers[0].defaults

    @property
    def state(self) -> dict[Any, Any]:
        """The state of each parameter, over all optimizers."""
        return {key: value for optimizer in self.optimizers for key, value in optimizer.state.items()}

    @property
    def learning_rate(self) -> float:
        """The first group's learning rate at the last step made."""
        return float(self.optimizers[0].param_groups[0]["lr"])

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the weights once."""
        result = closure() if closure is not None else None
        share = self.course(self.steps_made)
        self.rounding.begin(self.steps_made)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak_lr"] * share
            optimizer.step()
        self.steps_made += 1
        return result

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Reset the gradients."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """The state that an exact resume needs, in plain values and tensors; of what is sharded this process's part."""
        states = [optimizer.state_dict() for optimizer in self.optimizers]
        for values in states:
            values["state"] = {
                number: {key: _stored(value) for key, value in entries.items()}
                for number, entries in values["state"].items()
            }
        return {"steps_made": self.steps_made, "optimizers": states}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state that `state_dict` returned in the same process of a training.

        torch's own way would convert moments in fp32 to the format of the weights.
        """
        self.steps_made = int(state["steps_made"])
        for optimizer, values in zip(self.optimizers, state["optimizers"], strict=True):
            for group, saved in zip(optimizer.param_groups, values["param_groups"], strict=True):
                group["lr"] = saved["lr"]
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            optimizer.state.clear()
            for number, entries in values["state"].items():
                parameter = parameters[number]
                optimizer.state[parameter] = {key: _restored(value, parameter) for key, value in entries.items()}


def _stored(value: Any) -> Any:
    return {_SHARD: value.to_local()} if isinstance(value, DTensor) else value


def _restored(value: Any, parameter: nn.Parameter) -> Any:
    if isinstance(value, Mapping):
        return sharded_like(parameter, value[_SHARD].to(parameter.device))
    return value.to(parameter.device) if isinstance(value, Tensor) else value


def build_optimizer(
    network: nn.Module, settings: OptimizerSettings, steps: int, *, bf16: bool = False
) -> ScheduledOptimizer:
    """Make the optimizer of a task's network, whose backbone lies under `model.`, for a training of so many steps.

    Weight decay applies to matrices only, not to the embedding, norm weights and biases. The embedding, the matrices
    and the task's head have learning rates of their own: an embedding's row is updated only by the batches that hold
    its token, and needs larger steps. With `muon` the backbone's matrices go to Muon (Jordan et al., 2024), everything
    else to AdamW (Loshchilov and Hutter, 2019). Frozen weights have no state. `bf16` says that products are in bf16.
    """
    rounding = Rounding()
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    matrices: list[nn.Parameter] = []
    tables = {id(module.weight) for module in network.modules() if isinstance(module, nn.Embedding)}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        is_matrix = parameter.dim() == 2 and id(parameter) not in tables
        if not name.startswith("model."):  # the task's own head
            rate = settings.head_learning_rate
        elif is_matrix:
            rate = settings.matrix_learning_rate
            if settings.name is OptimizerName.muon:
                matrices.append(parameter)
                continue
        else:
            rate = settings.learning_rate
        groups.setdefault((rate, settings.weight_decay if is_matrix else 0.0), []).append(parameter)
    optimizers: list[torch.optim.Optimizer] = []
    if groups:
        described = [{"params": params, "lr": rate, "weight_decay": decay} for (rate, decay), params in groups.items()]
        lr, betas = settings.learning_rate, (settings.betas[0], settings.betas[1])
        if any(parameter.dtype == torch.bfloat16 for params in groups.values() for parameter in params):
            optimizers.append(RoundingAdamW(described, lr, betas, rounding))
        else:
            optimizers.append(torch.optim.AdamW(described, lr=lr, betas=betas, fused=True))
    if matrices:
        rate, momentum = settings.matrix_learning_rate, settings.matrix_momentum
        optimizers.append(Muon(matrices, rate, momentum, settings.weight_decay, rounding, bf16))

    warmup_steps, final_fraction = settings.warmup_steps, settings.final_fraction
    return ScheduledOptimizer(optimizers, lambda step: schedule(step, steps, warmup_steps, final_fraction), rounding)


def clip_gradients(parameters: list[nn.Parameter], largest: float) -> Tensor:
    """Scale the gradients to a global L2 norm of at most `largest` (0: leave them); return the norm before."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    if isinstance(norm, DTensor):  # sharded over the processes
        norm = norm.full_tensor()
    if largest > 0:
        nn.utils.clip_grads_with_norm_(parameters, largest, norm)
    return norm
