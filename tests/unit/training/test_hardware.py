"""What the machine has decides what `auto` means; what it lacks is said in a sentence."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from langmill.config.compose import compose_recipe
from langmill.config.sections import Accelerator, Precision, Strategy, Training, WeightFormat
from langmill.errors import TrainingError
from langmill.training import hardware
from tests.refused import refused
from tests.unit.training.material import RECIPES, REPOSITORY

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def training() -> Training:
    return compose_recipe(
        "reviews-lm", [*RECIPES["reviews-lm"], "training.micro_batch_size=4"], REPOSITORY / "conf"
    ).training


@pytest.mark.parametrize(
    ("flags", "expected"),
    [({"avx512f", "amx_bf16"}, True), ({"avx512_bf16"}, True), ({"avx512f", "avx2"}, False), (set(), False)],
)
def test_auto_precision_is_bf16_where_the_processor_multiplies_it(training, monkeypatch, flags, expected):
    monkeypatch.setattr(hardware, "_cpu_flags", lambda: flags)
    assert hardware.uses_bf16(dataclasses.replace(training, precision=Precision.auto), "cpu") is expected
    assert hardware.uses_bf16(dataclasses.replace(training, precision=Precision.bf16), "cpu") is True
    assert hardware.uses_bf16(dataclasses.replace(training, precision=Precision.fp32), "cpu") is False


def test_a_gpu_that_is_not_there_is_refused(training, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with refused(TrainingError, "unsupported", "training.accelerator is cuda"):
        hardware.choose_accelerator(dataclasses.replace(training, accelerator=Accelerator.cuda))


def test_more_gpus_than_there_are_are_refused(training, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with refused(TrainingError, "unsupported", "training.devices is 2", "1 GPUs"):
        hardware.choose_accelerator(dataclasses.replace(training, devices=2))


def test_compiling_needs_a_compiler(training, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    hardware.check_compiler(training, "cpu")
    training = dataclasses.replace(training, compile=True)
    hardware.check_compiler(training, "cuda")
    with refused(TrainingError, "missing", "no-such-compiler", "training.compile to false"):
        hardware.check_compiler(training, "cpu")


def test_the_process_is_given_back_as_it_was(training):
    before = (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    with hardware.prepared(dataclasses.replace(training, threads=1)):
        assert torch.get_num_threads() == 1
        assert torch.are_deterministic_algorithms_enabled()
        assert float(torch.tensor([1e-40]) * 0.5) == 0.0  # denormal
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before
    assert float(torch.tensor([1e-40]) * 0.5) > 0.0


def test_the_peak_is_known_for_known_gpus_in_bf16_only(training, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100 80GB HBM3")
    two = dataclasses.replace(training, devices=2)
    assert hardware.peak_flops(two, "cuda", bf16=True) == 2 * 989e12
    assert hardware.peak_flops(two, "cuda", bf16=False) is None
    assert hardware.peak_flops(two, "cpu", bf16=True) is None
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some Card")
    assert hardware.peak_flops(two, "cuda", bf16=True) is None


def test_one_process_is_sharded_like_several(training):
    assert hardware.is_sharding(dataclasses.replace(training, strategy=Strategy.fsdp))
    assert hardware.is_sharding(dataclasses.replace(training, strategy=Strategy.fsdp, devices=2))
    assert not hardware.is_sharding(dataclasses.replace(training, devices=2))


def test_operations_are_deterministic_unless_set_otherwise(training):
    for wanted in (True, False):
        with hardware.prepared(dataclasses.replace(training, deterministic=wanted)):
            assert torch.are_deterministic_algorithms_enabled() is wanted


def test_weights_in_bf16_need_products_in_bf16(training):
    hardware.check_weights(training, bf16=False)
    narrow = dataclasses.replace(training, weights=WeightFormat.bf16)
    hardware.check_weights(narrow, bf16=True)
    with refused(TrainingError, "unsupported", "training.weights is bf16", "training.precision"):
        hardware.check_weights(narrow, bf16=False)


@pytest.mark.parametrize(
    ("precision", "products", "recurrent"),
    [
        (Precision.fp32, "highest", False),
        (Precision.tf32, "high", True),
        (Precision.bf16, "high", True),
        (Precision.auto, "high", True),
    ],
)
def test_fp32_is_fp32_on_a_gpu_too(training, monkeypatch, precision, products, recurrent):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    with hardware.prepared(dataclasses.replace(training, precision=precision)):
        assert torch.get_float32_matmul_precision() == products
        assert torch.backends.cudnn.allow_tf32 is recurrent
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == before


def test_tf32_is_refused_where_there_is_none(training, monkeypatch):
    training = dataclasses.replace(training, precision=Precision.tf32)
    said = "training.precision is tf32"
    with refused(TrainingError, "unsupported", said):
        hardware.choose_accelerator(dataclasses.replace(training, accelerator=Accelerator.cpu))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    with refused(TrainingError, "unsupported", said):
        hardware.choose_accelerator(training)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 0))
    assert hardware.choose_accelerator(training) == "cuda"
    assert hardware.uses_bf16(training, "cuda") is False
