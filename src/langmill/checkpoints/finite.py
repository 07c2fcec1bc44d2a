"""Whether a pretrained model's weights are numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from langmill.errors import SourceError


def require_finite(name: str, weight: Tensor) -> None:
    """Raise SourceError where a weight holds NaN or infinity."""
    if not weight.is_floating_point():
        return
    wide = weight.float() if weight.element_size() == 1 else weight  # torch can't add numbers of eight bits
    # A sum reads each number once and keeps NaN and infinity; where large ones overflow it, each is looked at.
    if torch.isfinite(wide.sum()) or (finite := torch.isfinite(wide)).all():
        return
    raise SourceError(
        f"{name} of the pretrained model is damaged: {int((~finite).sum()):,} of its {weight.numel():,} weights are no "
        "finite numbers (NaN or infinity); fetch it again, or take another model.",
        "diverged",
    )
