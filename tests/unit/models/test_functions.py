"""The hand-written gradients equal autograd's."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from langmill.models import functions
from langmill.models.functions import head_cross_entropy, product_of_few, rms_norm, rotate
from langmill.models.layers.llama import TransformerSettings, rotary_tables
from tests.unit.models.conftest import OPTIONS

pytestmark = pytest.mark.unit


def test_rms_norm() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 8, dtype=torch.float64, requires_grad=True)
    weight = torch.rand(8, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(rms_norm(x, weight, 1e-3), F.rms_norm(x, (8,), weight, 1e-3))
    assert torch.autograd.gradcheck(lambda *inputs: rms_norm(*inputs, 1e-3), (x, weight))


def test_rms_norm_of_single_tokens() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(4, 1, 8), torch.rand(8)
    with torch.no_grad():
        torch.testing.assert_close(rms_norm(x, weight, 1e-3), F.rms_norm(x, (8,), weight, 1e-3))


@pytest.mark.parametrize("large", [0, 25], ids=["from the left", "from the right"])
@pytest.mark.parametrize("shape", [(1, 1, 6), (5, 1, 6), (16, 6), (17, 1, 6), (2, 3, 6)])
def test_the_product_of_few_tokens(shape: tuple[int, ...], large: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functions, "_LARGE_MATRIX", large)
    torch.manual_seed(0)
    x, weight, bias = torch.randn(shape), torch.randn(4, 6), torch.randn(4)
    for added in (None, bias):
        found = product_of_few(x, weight, added)
        assert found.is_contiguous()
        torch.testing.assert_close(found, F.linear(x, weight, added))


def test_rms_norm_of_narrow_numbers_is_computed_in_float32() -> None:
    x = torch.full((1, 1024), 100.0, dtype=torch.float16)  # the sum of squares exceeds float16's largest number
    assert torch.equal(rms_norm(x, torch.ones(1024, dtype=torch.float16), 1e-5), torch.ones_like(x))


def test_rotate() -> None:
    torch.manual_seed(0)
    cos_SE, sin_SE = (table.double()[:, None] for table in rotary_tables(TransformerSettings(**OPTIONS).shape, 5))
    x = torch.randn(2, 5, 3, 8, dtype=torch.float64, requires_grad=True)
    turned = rotate(x, cos_SE, sin_SE)
    one, other = x.detach()[1, 4, 2, [1, 5]]
    angle = torch.tensor(4.0 / 10000.0 ** (2 / 8), dtype=torch.float64)
    assert turned[1, 4, 2, 1].item() == pytest.approx((one * angle.cos() - other * angle.sin()).item(), abs=1e-6)
    assert turned[1, 4, 2, 5].item() == pytest.approx((other * angle.cos() + one * angle.sin()).item(), abs=1e-6)
    assert torch.autograd.gradcheck(lambda x: rotate(x, cos_SE, sin_SE), (x,))


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("fused", [True, False])
def test_head_cross_entropy(
    monkeypatch: pytest.MonkeyPatch, fused: bool, deterministic: bool, label_smoothing: float
) -> None:
    monkeypatch.setattr(functions, "_compiled_gradients", lambda: functions._whole_gradients)
    monkeypatch.setattr(functions, "_MIN_CHUNK_TOKENS", 4)
    monkeypatch.setitem(functions._LOGITS_AT_ONCE, "cpu", 1)
    torch.manual_seed(0)
    hidden = torch.randn(10, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(7, 6, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([0, 6, -100, 3, 3, 1, -1, 5, 2, 4])
    wanted = {"ignore_index": -1, "label_smoothing": label_smoothing}
    expected = F.cross_entropy(hidden @ weight.T, targets.clamp(min=-1), **wanted)
    expected_grads = torch.autograd.grad(expected, (hidden, weight))
    torch.use_deterministic_algorithms(deterministic)
    try:
        loss = head_cross_entropy(hidden, weight, targets, label_smoothing, fused=fused)
        grads = torch.autograd.grad(3 * loss, (hidden, weight))
    finally:
        torch.use_deterministic_algorithms(False)
    torch.testing.assert_close(loss, expected)
    for grad, expected_grad in zip(grads, expected_grads, strict=True):
        torch.testing.assert_close(grad, 3 * expected_grad)
    with torch.no_grad():
        again = head_cross_entropy(hidden, weight, targets, label_smoothing)
        assert again.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("grad", [True, False])
def test_nothing_to_predict_costs_nothing(grad: bool) -> None:
    hidden, weight = torch.randn(3, 4, requires_grad=True), torch.randn(5, 4, requires_grad=True)
    with torch.set_grad_enabled(grad):
        assert head_cross_entropy(hidden, weight, torch.full((3,), -100)).item() == 0.0


def test_head_cross_entropy_under_bf16_autocast() -> None:
    torch.manual_seed(0)
    hidden, weight = torch.randn(64, 32, requires_grad=True), torch.randn(50, 32, requires_grad=True)
    targets = torch.randint(50, (64,))
    exact = head_cross_entropy(hidden, weight, targets)
    exact_grad = torch.autograd.grad(exact, weight)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = head_cross_entropy(hidden, weight, targets)
    assert loss.dtype == torch.float32
    grad = torch.autograd.grad(loss, weight)[0]
    assert grad.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=1e-2)
    torch.testing.assert_close(grad, exact_grad, rtol=0.05, atol=2e-3)
