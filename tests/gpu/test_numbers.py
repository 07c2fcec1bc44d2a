"""The rounding of products and recurrent networks, and functions that must give the CPU's values on a card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from langmill.models import functions
from langmill.models.functions import head_cross_entropy, rms_norm, rotate
from langmill.models.layers.llama import TransformerSettings, rotary_tables
from langmill.models.layers.t5 import bucket
from langmill.training.hardware import prepared, uses_bf16
from tests.gpu.material import NEEDS_CARD, finished_model, training_of
from tests.unit.models.checkpoints import write_checkpoint
from tests.unit.models.conftest import OPTIONS
from tests.unit.models.pretrained import HEADS, KINDS, LORA, load
from tests.unit.models.test_pretrained import LENGTHS_B, MASK_BT, TARGETS_BT, TOKENS_BT

pytestmark = NEEDS_CARD
SIZE = 512
WIDTHS = {"fp32": (0.0, 3e-6), "tf32": (3e-5, 2e-3), "bf16": (1e-3, 2e-2)}
"""The relative errors that a product of 512 terms has, by its number format: more than, less than."""


def error(found: Tensor, exact: Tensor) -> float:
    return float((found.double().cpu() - exact).norm() / exact.norm())


def product_error() -> float:
    torch.manual_seed(1)
    x, weight = torch.randn(SIZE, SIZE), torch.randn(SIZE, SIZE)
    return error(x.cuda() @ weight.cuda(), x.double() @ weight.double())


def recurrent_error(layers_class: type[nn.RNN | nn.LSTM | nn.GRU]) -> float:
    torch.manual_seed(1)
    layers, x = layers_class(SIZE, SIZE, 2, batch_first=True), torch.randn(16, 8, SIZE)
    exact, _ = layers.double()(x.double())
    found, _ = layers.float().cuda()(x.cuda())
    return error(found.detach(), exact.detach())


@pytest.mark.parametrize("precision", WIDTHS)
def test_training_multiplies_in_the_format_that_is_set(precision: str) -> None:
    training = training_of(f"training.precision={precision}")
    bf16 = uses_bf16(training, "cuda")
    more, less = WIDTHS[precision]
    with prepared(training), torch.autocast("cuda", torch.bfloat16, enabled=bf16):
        errors = {"product": product_error()}
        for layers_class in (nn.RNN, nn.LSTM, nn.GRU):
            errors[layers_class.__name__] = recurrent_error(layers_class)
    print(precision, errors)
    assert more <= errors["product"] < less
    assert all(more / 10 <= value < less for value in errors.values())


def test_a_finished_model_is_asked_in_fp32() -> None:
    with finished_model():
        errors = [product_error(), *(recurrent_error(layers) for layers in (nn.RNN, nn.LSTM, nn.GRU))]
    assert max(errors) < WIDTHS["fp32"][1], errors


def test_auto_takes_bf16_where_the_card_has_it() -> None:
    expected = torch.cuda.get_device_capability() >= (8, 0)
    assert uses_bf16(training_of("training.precision=auto"), "cuda") is expected


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_the_functions_and_their_gradients_are_the_cpus(
    label_smoothing: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(functions, "_LOGITS_AT_ONCE_ELSEWHERE", 1)  # several chunks
    torch.manual_seed(0)
    hidden, weight = torch.randn(600, 32), torch.randn(50, 32)
    targets = torch.randint(-2, 50, (600,))
    x, scale = torch.randn(2, 9, 32), torch.rand(32)
    cos_SE, sin_SE = (table[:, None] for table in rotary_tables(TransformerSettings(**OPTIONS).shape, 9))

    def values(device: str, dtype: torch.dtype) -> list[Tensor]:
        def on(tensor: Tensor) -> Tensor:
            return tensor.to(device, dtype).detach().requires_grad_()

        given = [on(hidden), on(weight), on(x), on(scale)]
        loss = head_cross_entropy(given[0], given[1], targets.to(device), label_smoothing)
        normalised = rms_norm(given[2], given[3], 1e-5).unflatten(-1, (4, 8))
        turned = rotate(normalised, cos_SE.to(device, dtype), sin_SE.to(device, dtype))
        grads = torch.autograd.grad(loss + turned.square().sum() + (turned * turned.roll(1, 1)).sum(), given)
        return [loss, turned, *grads]

    with prepared(training_of("training.precision=fp32")):
        for found, exact in zip(values("cuda", torch.float32), values("cpu", torch.float64), strict=True):
            assert error(found.detach(), exact.detach()) < 1e-5


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("num_buckets", "max_distance"), [(32, 128), (16, 64), (8, 16), (32, 100)])
def test_distances_fall_into_the_cpus_buckets(num_buckets: int, max_distance: int, bidirectional: bool) -> None:
    distances = torch.arange(-2048, 2049)
    on_cpu, on_card = (
        bucket(distances.to(device), num_buckets, max_distance, bidirectional=bidirectional).cpu()
        for device in ("cpu", "cuda")
    )
    assert distances[on_cpu != on_card].tolist() == []


@pytest.mark.parametrize("tuning", ["full", "lora"])
@pytest.mark.parametrize("family", HEADS)
def test_every_family_of_transformers_learns_in_deterministic_mode(family: str, tuning: str, tmp_path: Path) -> None:
    write_checkpoint(tmp_path, family, HEADS[family], **({"num_labels": 3} if KINDS[family] == "bidirectional" else {}))

    def gradients(device: str) -> list[Tensor]:
        network: Any = load(tmp_path, KINDS[family], tuning=tuning, lora=LORA)
        network.model.prepare_for_training(network)
        network = network.to(device)
        tokens_BT, lengths_B = TOKENS_BT.to(device), LENGTHS_B.to(device)
        if KINDS[family] == "causal":
            loss = network.loss(tokens_BT, torch.where(MASK_BT.bool(), TOKENS_BT.roll(-1, 1), -1).to(device))
        elif KINDS[family] == "bidirectional":
            loss = nn.functional.cross_entropy(network(tokens_BT, lengths_B), torch.tensor([0, 1, 2], device=device))
        else:
            loss = network.loss(tokens_BT, lengths_B, TARGETS_BT.to(device), 0.1)
        loss.backward()
        given = [weight.grad for weight in network.parameters() if weight.grad is not None]
        return [loss.detach(), *given]

    with prepared(training_of("training.precision=fp32")):
        on_card, again, on_cpu = gradients("cuda"), gradients("cuda"), gradients("cpu")
    assert all(torch.equal(one, other) for one, other in zip(on_card, again, strict=True))
    for found, exact in zip(on_card, on_cpu, strict=True):
        torch.testing.assert_close(found.cpu(), exact, rtol=1e-3, atol=1e-4)
