"""Sampling and greedy decoding."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence

import torch
from torch import Tensor

from langmill.errors import ModelError
from langmill.models.generation.config import Sampling
from langmill.models.generation.network import Decodes, Ending

CLOSE = 1e-3
"""Two logits or log probabilities nearer than this may change order in another batch, since a larger matrix product
rounds differently. Rounding changes them by 1e-6 to 1e-4."""


def generate(network: Decodes, prompt_ids: Sequence[int], sampling: Sampling) -> Generator[int, None, Ending]:
    """Generate the tokens after a prompt; the generator's return value is why it ended.

    The network's `max_length` also ends the text; the end-of-text token begins a new one.

    Raises:
        ModelError: The prompt is empty or too long, or the network is in training mode.
    """
    cache, (new_ids,) = network.begin([prompt_ids], sampling.max_new_tokens)
    generator = sampling.generator()
    seen_ids = list(new_ids)
    for count in range(1, sampling.max_new_tokens + 1):
        chosen = choose(network.read([new_ids], cache)[0], sampling, generator, seen_ids)
        if chosen in sampling.stop_ids:
            return Ending.stop
        yield chosen
        new_ids = [chosen]
        seen_ids.append(chosen)
        if cache.length == network.max_length or count == sampling.max_new_tokens:
            break
    return Ending.length


def generate_batch(
    network: Decodes,
    prompts: Sequence[Sequence[int]],
    samplings: Sequence[Sampling],
    close: set[int] | None = None,
) -> list[list[int]]:
    """Generate the tokens after each of several prompts, as `generate` does for each alone.

    Prompts may differ in length and sampling. A larger matrix product rounds differently, so two tokens whose logits
    differ in the last bits only may change order.

    `close` gets the indices of the prompts with a temperature of 0 at which two tokens were `CLOSE`.

    Raises:
        ModelError: As for `generate`.
    """
    cache, new_ids = network.begin(prompts, max(sampling.max_new_tokens for sampling in samplings))
    generators = [sampling.generator() for sampling in samplings]
    read = [list(ids) for ids in new_ids]
    results: list[list[int]] = [[] for _ in prompts]
    active = list(range(len(prompts)))
    while active:
        logits_BV = network.read(new_ids, cache)
        unfinished = []
        for row, number in enumerate(active):
            seen_ids = read[number] + results[number]
            if close is not None and number not in close and _is_close(logits_BV[row], samplings[number], seen_ids):
                close.add(number)
            chosen = choose(logits_BV[row], samplings[number], generators[number], seen_ids)
            if chosen in samplings[number].stop_ids:
                continue
            results[number].append(chosen)
            at_end = cache.lengths[row] == network.max_length
            if not at_end and len(results[number]) < samplings[number].max_new_tokens:
                unfinished.append(row)
        if len(unfinished) < len(active):
            cache.keep(unfinished)
        active = [active[row] for row in unfinished]
        new_ids = [[results[number][-1]] for number in active]
    return results


def choose(logits_V: Tensor, sampling: Sampling, generator: torch.Generator, seen_ids: Sequence[int] = ()) -> int:
    """Choose the next token's id.

    The order is repetition penalty, temperature, top k, top p, min p, as in `transformers`. Tokens are drawn on the CPU
    in float32, so that a seed gives the same text on every device. `seen_ids` are the tokens so far.

    Raises:
        ModelError: A logit is not a number.
    """
    if sampling.repetition_penalty != 1:
        logits_V = penalised(logits_V, sampling.repetition_penalty, seen_ids)
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


def _is_close(logits_V: Tensor, sampling: Sampling, seen_ids: Sequence[int]) -> bool:
    """Whether rounding may decide which token is most likely."""
    if sampling.temperature > 0:
        return False
    if sampling.repetition_penalty != 1:
        logits_V = penalised(logits_V, sampling.repetition_penalty, seen_ids)
    first, second = logits_V.topk(2).values.tolist()
    return bool(first - second < CLOSE)
