"""The device of a finished model: one setting for evaluation, generation and serving (`operation.device`)."""

from __future__ import annotations

import torch

from langmill.config.sections import Accelerator
from langmill.errors import ConfigError


def use_device(wanted: Accelerator, setting: str = "operation.device") -> str:
    """Choose the device of this process, by torch's name; on a GPU, switch TF32 off.

    cuDNN's recurrent networks would otherwise round to TF32, and the same weights score differently on a GPU.

    Args:
        wanted: The setting; `auto` takes a GPU where torch sees one.
        setting: Its name, for the message.

    Raises:
        ConfigError: The machine has no such device.
    """
    available = {
        Accelerator.cuda: torch.cuda.is_available(),
        Accelerator.mps: torch.backends.mps.is_available(),
        Accelerator.cpu: True,
    }
    if wanted is Accelerator.auto:
        wanted = next(kind for kind, there in available.items() if there)
    if not available[wanted]:
        raise ConfigError(
            f"{setting} is {wanted.value}, but torch sees no such device here; set it to auto or cpu, or install a "
            "torch that is built for it.",
            "unsupported",
        )
    if wanted is Accelerator.cuda:
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    return wanted.value
