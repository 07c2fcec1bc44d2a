"""The machine's devices and number formats, and which of them the settings select."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.utils.deterministic

from langmill.config.sections import Accelerator, Precision, Strategy, Training, WeightFormat
from langmill.errors import TrainingError

memory: Any = torch.utils.deterministic  # its one setting has no type
_BF16_FLAGS = ("amx_bf16", "avx512_bf16")
# Dense bf16 products, operations per second, from the vendors' data sheets; the first name that fits counts.
_PEAKS = {
    "B200": 2.25e15,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "A10": 125e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
}


def rank() -> int:
    """Rank of this process by its environment; 0 writes."""
    names = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")  # as Lightning looks for it
    return next((int(os.environ[name]) for name in names if name in os.environ), 0)


@contextlib.contextmanager
def prepared(training: Training) -> Iterator[None]:
    """Make torch deterministic unless set otherwise, with the settings' number of threads, while the block works.

    The number of threads is part of the result, since it orders the sums. Denormal numbers are flushed to zero: they
    slow a recurrent network's backward pass down five times and change nothing that is measured. Memory that is about
    to be overwritten is not filled first, which deterministic mode would do at every allocation.
    """
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    cudnn_tf32 = torch.backends.cudnn.allow_tf32
    deterministic, fill = torch.are_deterministic_algorithms_enabled(), memory.fill_uninitialized_memory
    if training.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is so only with a fixed workspace
    os.environ["OMP_NUM_THREADS"] = str(training.threads)  # else Lightning chooses a number of its own
    torch.set_num_threads(training.threads)
    torch.set_flush_denormal(True)
    torch.use_deterministic_algorithms(training.deterministic)
    memory.fill_uninitialized_memory = False
    tf32 = torch.cuda.is_available() and training.precision is not Precision.fp32
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32  # recurrent networks; torch's own default is true
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(False)
        torch.use_deterministic_algorithms(deterministic)
        memory.fill_uninitialized_memory = fill
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.allow_tf32 = cudnn_tf32


def accelerator_kind(training: Training) -> Accelerator:
    """The kind of device that training would take, whether or not it is there: as set, or with `auto` the best here."""
    if training.accelerator is not Accelerator.auto:
        return training.accelerator
    if torch.cuda.is_available():
        return Accelerator.cuda
    return Accelerator.mps if torch.backends.mps.is_available() else Accelerator.cpu


def number_format(training: Training) -> Precision:
    """The number format of the matrix products that training would use: as set, or what `auto` means here."""
    if training.precision is not Precision.auto:
        return training.precision
    return Precision.bf16 if uses_bf16(training, accelerator_kind(training).value) else Precision.fp32


def choose_accelerator(training: Training) -> str:
    """Choose the kind of device, by its name in Lightning and torch: `cpu`, `cuda` or `mps`.

    Raises TrainingError where the machine has no such device, or too few of them.
    """
    wanted = accelerator_kind(training)
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if (wanted is Accelerator.cuda and not cuda) or (wanted is Accelerator.mps and not mps):
        raise TrainingError(
            f"training.accelerator is {wanted.value}, but torch sees no such device here; "
            "set it to auto or cpu, or install a torch that is built for it.",
            "unsupported",
        )
    if wanted is Accelerator.cuda and training.devices > torch.cuda.device_count():
        raise TrainingError(
            f"training.devices is {training.devices}, but this machine has {torch.cuda.device_count()} GPUs; lower it.",
            "unsupported",
        )
    if training.precision is Precision.tf32 and (wanted is not Accelerator.cuda or not _has_tf32()):
        raise TrainingError(
            "training.precision is tf32, which only NVIDIA's GPUs from Ampere on have; set it to auto, fp32 or bf16.",
            "unsupported",
        )
    if wanted is Accelerator.mps and training.devices * training.nodes > 1:
        raise TrainingError(
            "training.devices and training.nodes must be 1 on mps, which can't share a training.", "unsupported"
        )
    return wanted.value


def _has_tf32() -> bool:
    return torch.cuda.get_device_capability() >= (8, 0)


def uses_bf16(training: Training, accelerator: str) -> bool:
    """Whether matrix products use bf16: as set, or with `auto` where the processor has instructions for it."""
    if training.precision is not Precision.auto:
        return training.precision is Precision.bf16
    if accelerator == "cuda":
        return torch.cuda.is_available() and bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return accelerator == "cpu" and any(flag in _cpu_flags() for flag in _BF16_FLAGS)


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return next((set(line.split(":", 1)[1].split()) for line in lines if line.startswith("flags")), set())


def is_sharding(training: Training) -> bool:
    """Whether each process holds only its part of the weights (FSDP); one process alone holds all, in the same way."""
    return training.strategy is Strategy.fsdp


def check_weights(training: Training, *, bf16: bool) -> None:
    """Check that weights can be held in the format that is set.

    Raises TrainingError where they are to be in bf16, and the products are not.
    """
    if training.weights is WeightFormat.bf16 and not bf16:
        raise TrainingError(
            "training.weights is bf16, but the matrix products are in another format here; set training.precision to "
            "bf16 (this machine may have no instructions for it), or training.weights to fp32.",
            "unsupported",
        )


def check_compiler(training: Training, accelerator: str) -> None:
    """Check that torch.compile can work, before anything else is done.

    Raises TrainingError where it is wanted on the CPU and there is no C++ compiler.
    """
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if training.compile and accelerator == "cpu" and shutil.which(compiler) is None:
        raise TrainingError(
            f"training.compile is true, but there is no C++ compiler ({compiler}) on this machine; "
            "install one (on Debian: apt install g++), or set training.compile to false.",
            "missing",
        )


def peak_flops(training: Training, accelerator: str, *, bf16: bool) -> float | None:
    """Peak bf16 operations per second of all devices together; None where unknown."""
    if accelerator != "cuda" or not bf16:
        return None
    name = torch.cuda.get_device_name()
    peak = next((peak for known, peak in _PEAKS.items() if known in name), None)
    return None if peak is None else peak * training.devices * training.nodes
