"""The kind of device."""

from __future__ import annotations

from enum import StrEnum


class Accelerator(StrEnum):
    """The kind of device."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"
