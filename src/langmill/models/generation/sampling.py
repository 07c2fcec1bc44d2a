"""Choosing tokens from logits: sampling and greedy decoding."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from langmill.errors import ModelError
from langmill.models.generation.config import Sampling

CLOSE = 1e-3
"""Two logits or log probabilities nearer than this may change order in another batch, since a larger matrix product
rounds differently. Rounding changes them by 1e-6 to 1e-4."""


def choose(
    logits_V: Tensor,
    sampling: Sampling,
    generator: torch.Generator,
    seen_ids: Sequence[int] = (),
    *,
    prompt_length: int = 0,
    allowed_V: Tensor | None = None,
) -> int:
    """Choose the next token's id.

    The order is what `adjusted` does, temperature, top k, top p, min p, as in `transformers`. Tokens are drawn on the
    CPU in float32, so that a seed gives the same text on every device.

    Args:
        logits_V: The network's, `(vocabulary,)`.
        sampling: How to choose.
        generator: What is drawn from.
        seen_ids: The tokens so far, those of the prompt first.
        prompt_length: How many of them are the prompt's.
        allowed_V: The tokens that may come, as `Guide.allowed` tells; at least one.

    Raises:
        ModelError: A logit is not a number.
    """
    logits_V = adjusted(logits_V, sampling, seen_ids, prompt_length=prompt_length, allowed_V=allowed_V)
    if sampling.greedy:
        chosen = int(logits_V.argmax())
        require_finite(logits_V[chosen])
        return chosen
    logits_V = logits_V.float().cpu() / sampling.temperature
    if not 0 < sampling.top_k < len(logits_V):
        if sampling.top_p == 1 and sampling.min_p == 0:
            return _draw(logits_V.softmax(dim=-1), generator)
        ranked, ids = logits_V.sort(descending=True, stable=True)
    else:
        ranked, ids = logits_V.topk(sampling.top_k)
    probabilities = ranked.softmax(dim=-1)
    if sampling.top_p < 1:
        before = probabilities.cumsum(dim=-1) - probabilities
        beyond = before >= sampling.top_p
        beyond[0] = False  # float32 takes the smallest top_p for 0; the most likely token is kept all the same
        probabilities = probabilities.masked_fill(beyond, 0.0)
    if sampling.min_p > 0:  # relative to the most likely one, so normalisation does not matter
        probabilities = probabilities.masked_fill(probabilities < sampling.min_p * probabilities[0], 0.0)
    return int(ids[_draw(probabilities, generator)])


def adjusted(
    logits_V: Tensor,
    sampling: Sampling,
    seen_ids: Sequence[int] = (),
    *,
    prompt_length: int = 0,
    allowed_V: Tensor | None = None,
) -> Tensor:
    """Apply penalties, bias and a guide to logits, the same object where there are none; arguments as in `choose`."""
    if sampling.repetition_penalty != 1:
        logits_V = penalised(logits_V, sampling.repetition_penalty, seen_ids)
    if sampling.frequency_penalty or sampling.presence_penalty:
        counts = Counter(seen_ids[prompt_length:])
        penalties = [sampling.frequency_penalty * count + sampling.presence_penalty for count in counts.values()]
        logits_V = _added(logits_V, list(counts), [-penalty for penalty in penalties])
    if sampling.logit_bias:
        ids, biases = zip(*sampling.logit_bias, strict=True)
        logits_V = _added(logits_V, ids, biases)
    if allowed_V is not None:
        allowed_V = allowed_V.to(logits_V.device)
        known = len(allowed_V)
        masked_V = torch.full_like(logits_V, -torch.inf)
        masked_V[:known] = torch.where(allowed_V[: len(logits_V)], logits_V[:known], -torch.inf)
        return masked_V
    return logits_V


def _added(logits_V: Tensor, ids: Sequence[int], values: Sequence[float]) -> Tensor:
    where = torch.tensor(ids, dtype=torch.long, device=logits_V.device)
    return logits_V.float().index_add(0, where, torch.tensor(values, dtype=torch.float32, device=logits_V.device))


def penalised(logits_V: Tensor, penalty: float, seen_ids: Sequence[int]) -> Tensor:
    """Apply the repetition penalty to the logits of the tokens seen."""
    seen = torch.tensor(sorted(set(seen_ids)), dtype=torch.long, device=logits_V.device)
    logits_V = logits_V.float().clone()
    logits_V[seen] = torch.where(logits_V[seen] < 0, logits_V[seen] * penalty, logits_V[seen] / penalty)
    return logits_V


def _draw(weights: Tensor, generator: torch.Generator) -> int:
    """Draw an index by inverting the cumulative distribution at one uniform number."""
    cumulative = weights.double().cumsum(dim=-1)
    require_finite(cumulative[-1])
    point = torch.rand(1, generator=generator, dtype=torch.float64) * cumulative[-1]
    return int(torch.searchsorted(cumulative, point, right=True).clamp(max=int(weights.nonzero()[-1])))


def require_finite(value: Tensor) -> None:
    """Refuse a logit that is NaN or infinite: the same token would be chosen for ever."""
    if not math.isfinite(value):
        message = "The network gave a logit that is not a number; its weights or its input are damaged."
        raise ModelError(message, code="diverged")


def is_close(logits_V: Tensor, sampling: Sampling) -> bool:
    """Whether rounding may decide which token is most likely, given adjusted logits."""
    if not sampling.greedy:
        return False
    first, second = logits_V.topk(2).values.tolist()
    return bool(first - second < CLOSE)
