"""How likely a network holds each of the tokens that are wanted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from langmill.scoring.batching import LEAST_ROWS

_LOGITS_AT_ONCE = 512  # tokens whose logits are in memory together


def likelihood(head: Callable[[Tensor], Tensor], hidden_ND: Tensor, target_N: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """What each target costs in nats, and whether it is the most likely token; the same whatever else is asked."""
    nats, correct = [np.zeros(0)], [np.zeros(0, dtype=bool)]
    pieces = zip(torch.split(hidden_ND, _LOGITS_AT_ONCE), torch.split(target_N, _LOGITS_AT_ONCE), strict=True)
    for hidden, target in pieces:
        missing = LEAST_ROWS - len(hidden)
        if 0 < missing < LEAST_ROWS:
            hidden = torch.cat([hidden, hidden[-1:].expand(missing, -1)])  # noqa: PLW2901
        logits_NV = head(hidden)[: len(target)].float()
        nats.append(F.cross_entropy(logits_NV, target, reduction="none").double().cpu().numpy())
        correct.append((logits_NV.argmax(dim=-1) == target).cpu().numpy())
    return np.concatenate(nats), np.concatenate(correct)
