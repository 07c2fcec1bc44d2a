"""Functions with fewer passes over memory than autograd: RMSNorm, rotary positions, the head's loss.

On a processor without much bandwidth these passes, and not the matrix products, decide the speed of a small network.
docs/decisions/0201-own-backward-passes.md has the measurements. Shape suffixes: see `langmill.models.base`; N stands
for the tokens of a whole batch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

# Logits in memory at once: on a CPU they should fit its cache, a GPU needs large products.
_LOGITS_AT_ONCE = {"cpu": 2**21}
_LOGITS_AT_ONCE_ELSEWHERE = 2**27
_MIN_CHUNK_TOKENS = 256
_FEW_TOKENS = 16
_LARGE_MATRIX = 2**20  # numbers


def rms_norm(x_BTD: Tensor, weight_D: Tensor, eps: float) -> Tensor:
    """Compute `x / sqrt(mean(x^2) + eps) * weight` (Zhang & Sennrich, 2019), in float32 at least."""
    wide = torch.promote_types(x_BTD.dtype, torch.float32)
    if wide != x_BTD.dtype:
        if x_BTD.is_cuda and not _plain():  # its one kernel adds in float32
            return F.rms_norm(x_BTD, weight_D.shape, weight_D.to(x_BTD.dtype), eps)
        return F.rms_norm(x_BTD.to(wide), weight_D.shape, None, eps).to(x_BTD.dtype) * weight_D
    if torch.compiler.is_compiling() or x_BTD.is_cuda:  # a compiler fuses the passes, CUDA has one kernel for them
        return F.rms_norm(x_BTD, weight_D.shape, weight_D, eps)
    if not torch.is_grad_enabled():
        if x_BTD.dim() == 3 and x_BTD.shape[1] == 1:  # of one token, torch's takes several times as long
            square_B11 = torch.bmm(x_BTD, x_BTD.transpose(1, 2))
            scale_B11 = torch.rsub(square_B11, eps, alpha=-1.0 / x_BTD.shape[-1]).rsqrt_()
            return (x_BTD * scale_B11).mul_(weight_D)
        return F.rms_norm(x_BTD, weight_D.shape, weight_D, eps)
    return cast("Tensor", _RMSNorm.apply(x_BTD, weight_D, eps))  # type: ignore[no-untyped-call]


def rotate(x_BTHE: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate each pair (i, i + E/2) of a head's dimensions by the angle of its position (Su et al., 2021).

    Both halves of E have the same cosines; the sines of the first half are negated.
    """
    if _plain():
        halves = x_BTHE.view(*x_BTHE.shape[:-1], 2, x_BTHE.shape[-1] // 2)
        swapped = halves.flip(-2).view(x_BTHE.shape)  # as roll() does, in half the time
        return torch.addcmul(x_BTHE * cos, swapped, sin).to(x_BTHE.dtype)
    return cast("Tensor", _Rotate.apply(x_BTHE, cos, sin))  # type: ignore[no-untyped-call]


def product_of_few(x: Tensor, weight_OI: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """Compute `x @ weight.T + bias` without gradients, for the few tokens of a step of decoding."""
    if not is_large_for(x, weight_OI):
        return F.linear(x, weight_OI, bias_O)
    found_NO = torch.mm(weight_OI, x.reshape(-1, x.shape[-1]).T).T.contiguous()
    if bias_O is not None:
        found_NO += bias_O
    return found_NO.view(*x.shape[:-1], -1)


def is_large_for(x: Tensor, weight_OI: Tensor) -> bool:
    """Whether a CPU's library reads the matrix faster from the left.

    It does where there are two to sixteen tokens and the matrix is larger than a core's cache: 1.2 to 2.4 times for the
    large ones of SmolLM2 (MKL, one thread). Of smaller ones the product from the left takes up to twice as long.
    """
    if weight_OI.numel() < _LARGE_MATRIX or x.device.type != "cpu":
        return False
    return 1 < x.numel() // x.shape[-1] <= _FEW_TOKENS


def _plain() -> bool:
    """Whether plain operations are faster: a compiler fuses them, and without gradients fewer calls count."""
    return torch.compiler.is_compiling() or not torch.is_grad_enabled()


def head_cross_entropy(
    hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, label_smoothing: float = 0.0, *, fused: bool = False
) -> Tensor:
    """Compute the mean cross entropy in nats of `hidden @ weight.T` against the targets, a scalar in float32.

    The logits are computed in chunks of a few hundred tokens. With gradients on, a chunk's gradients are computed with
    its logits, so that nothing is computed twice (as in Hsu et al., 2024, Liger Kernel).

    Negative targets are ignored. `label_smoothing` is the share of the target probability spread over all tokens evenly
    (Szegedy et al., 2016). `fused` compiles what is computed of a chunk's logits, so that they are read twice and not
    seven times; the first call takes seconds.
    """
    device = hidden_ND.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        hidden_ND, weight_VD = hidden_ND.to(dtype), weight_VD.to(dtype)
    at_once = _LOGITS_AT_ONCE.get(device, _LOGITS_AT_ONCE_ELSEWHERE)
    chunk = max(_MIN_CHUNK_TOKENS, at_once // weight_VD.shape[0])
    if torch.is_grad_enabled():
        learns = weight_VD.requires_grad  # an adapter's base keeps its head
        gradients = _compiled_gradients() if fused else _plain_gradients
        loss = _HeadCrossEntropy.apply(hidden_ND, weight_VD, targets_N, chunk, label_smoothing, learns, gradients)  # type: ignore[no-untyped-call]
        return cast("Tensor", loss)
    total = torch.zeros((), device=hidden_ND.device)
    for start in range(0, len(hidden_ND), chunk):
        part = slice(start, start + chunk)
        logits_NV = (hidden_ND[part] @ weight_VD.T).float()
        known_N = targets_N[part].clamp(min=-1)
        total += F.cross_entropy(logits_NV, known_N, ignore_index=-1, reduction="sum", label_smoothing=label_smoothing)
    return total / (targets_N >= 0).sum().clamp(min=1)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_D: Tensor, eps: float) -> Tensor:
        norm: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        scale = norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight_D, scale)
        return (x * scale).mul_(weight_D)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        # With n = x * scale: dweight = sum(grad * n) and dx = scale * (grad * weight - n * mean(grad * weight * n)).
        x, weight_D, scale = ctx.saved_tensors
        product_ND = (grad * x).flatten(0, -2)
        scale_N = scale.flatten()
        pull_N = (product_ND @ weight_D).mul_(scale_N.square()).div_(-x.shape[-1])
        grad_x = torch.addcmul(grad * weight_D, x, pull_N.view(scale.shape)).mul_(scale)
        return grad_x, scale_N @ product_ND, None


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _rotated(x, cos, sin)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _rotated(grad, cos, -sin), None, None


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    rotated = x * cos
    rotated[..., :half].addcmul_(x[..., half:], sin[..., :half])
    rotated[..., half:].addcmul_(x[..., :half], sin[..., half:])
    return rotated.to(x.dtype)


class _HeadCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917  # torch passes them by position
        ctx: Any,
        hidden_ND: Tensor,
        weight_VD: Tensor,
        targets_N: Tensor,
        chunk: int,
        label_smoothing: float,
        learns: bool,
        gradients: _Gradients,
    ) -> Tensor:
        ignored_N1 = targets_N[:, None] < 0
        count = (~ignored_N1).sum().clamp(min=1)
        targets_N = targets_N.clamp(min=0)
        # An ignored target must add nothing to the head's gradient: its hidden state is set to zero.
        hidden_ND = hidden_ND.masked_fill(ignored_N1, 0.0)
        grad_hidden_ND = torch.empty_like(hidden_ND)
        wide = torch.promote_types(weight_VD.dtype, torch.float32)
        grad_weight_VD = torch.zeros_like(weight_VD, dtype=wide) if learns else None
        losses_N1 = torch.empty(len(hidden_ND), 1, dtype=wide, device=hidden_ND.device)
        for start in range(0, len(hidden_ND), chunk):
            part = slice(start, start + chunk)
            losses_N1[part], grad_NV = gradients(hidden_ND[part] @ weight_VD.T, targets_N[part, None], label_smoothing)
            grad_hidden_ND[part] = grad_NV @ weight_VD
            if grad_weight_VD is not None:
                grad_weight_VD += grad_NV.T @ hidden_ND[part]
        grad_hidden_ND.masked_fill_(ignored_N1, 0.0)
        if grad_weight_VD is not None:
            grad_weight_VD = grad_weight_VD.div_(count).to(weight_VD.dtype)
        ctx.save_for_backward(grad_hidden_ND.div_(count), grad_weight_VD)
        return losses_N1.masked_fill(ignored_N1, 0.0).sum() / count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grad_hidden_ND, grad_weight_VD = ctx.saved_tensors
        grad_weight_VD = None if grad_weight_VD is None else grad_weight_VD * grad
        return grad_hidden_ND * grad, grad_weight_VD, None, None, None, None, None


_Gradients = Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]
"""Losses `(N, 1)`, in float32 at least, and gradients of logits `(N, V)`, predicted minus target probabilities, in the
logits' format; from the logits, the targets `(N, 1)` and the label smoothing."""


def _plain_gradients(logits_NV: Tensor, targets_N1: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor]:
    wide = torch.promote_types(logits_NV.dtype, torch.float32)
    log_probabilities_NV = torch.log_softmax(logits_NV.to(wide), dim=-1)
    losses_N1 = -log_probabilities_NV.gather(1, targets_N1)
    if label_smoothing:
        mean_N1 = log_probabilities_NV.mean(dim=-1, keepdim=True)
        losses_N1.mul_(1.0 - label_smoothing).sub_(mean_N1, alpha=label_smoothing)
    grad_NV = log_probabilities_NV.exp_()
    if label_smoothing:
        grad_NV -= label_smoothing / logits_NV.shape[1]
    grad_NV[torch.arange(len(grad_NV), device=grad_NV.device), targets_N1[:, 0]] -= 1.0 - label_smoothing
    return losses_N1, grad_NV.to(logits_NV.dtype)


def _whole_gradients(logits_NV: Tensor, targets_N1: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor]:
    """Compute the same without writing into what was computed: to be compiled."""
    wide_NV = logits_NV.to(torch.promote_types(logits_NV.dtype, torch.float32))
    total_N1 = wide_NV.logsumexp(dim=-1, keepdim=True)
    losses_N1 = total_N1 - wide_NV.gather(1, targets_N1)
    if label_smoothing:
        mean_N1 = total_N1 - wide_NV.mean(dim=-1, keepdim=True)
        losses_N1 = (1.0 - label_smoothing) * losses_N1 + label_smoothing * mean_N1
    is_target_NV = torch.arange(wide_NV.shape[1], device=wide_NV.device) == targets_N1
    target_NV = is_target_NV * (1.0 - label_smoothing) + label_smoothing / wide_NV.shape[1]
    return losses_N1, ((wide_NV - total_N1).exp() - target_NV).to(logits_NV.dtype)


@functools.cache
def _compiled_gradients() -> _Gradients:
    return torch.compile(_whole_gradients, dynamic=True)
