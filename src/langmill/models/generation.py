"""Going on from a prompt, one token after the other, with a cache of what was read."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from langmill.config.sections import require
from langmill.errors import ModelError
from langmill.models.base import Cache
from langmill.models.heads import LanguageModel


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen, and when to stop."""

    max_new_tokens: int
    """Stop after this many tokens."""
    temperature: float
    """Logits are divided by this; 0 always takes the likeliest token."""
    top_k: int
    """Choose among this many of the likeliest tokens; 0 for all."""
    top_p: float
    """Choose among the fewest tokens whose probabilities add up to this (Holtzman et al., 2020); 1 for all."""
    seed: int
    """Equal seeds give equal texts, whatever else is drawn in the process."""
    stop_ids: tuple[int, ...]
    """Stop before any of these tokens."""

    def __post_init__(self) -> None:
        require(self.max_new_tokens >= 1, "max_new_tokens", self.max_new_tokens, "1 or more")
        require(0 <= self.temperature <= 100, "temperature", self.temperature, "0 to 100")
        require(self.top_k >= 0, "top_k", self.top_k, "0 or more")
        require(0 < self.top_p <= 1, "top_p", self.top_p, "above 0, at most 1")
        require(0 <= self.seed < 2**63, "seed", self.seed, "0 to 9223372036854775807")

    def generator(self) -> torch.Generator:
        """A fresh source of random numbers with the seed."""
        return torch.Generator().manual_seed(self.seed)


class Ending(StrEnum):
    """Why a text ended (the words of the OpenAI interface)."""

    stop = "stop"
    """A stop token came."""
    length = "length"
    """`max_new_tokens` are there, or the network can look back no further."""


def choose(logits_V: Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """The next token's id.

    The order is temperature, top k, top p, as in `transformers`. Chosen on the CPU in float32, so that a seed means the
    same on every device.
    """
    if sampling.temperature == 0:
        return int(logits_V.argmax())
    logits_V = logits_V.float().cpu() / sampling.temperature
    if not 0 < sampling.top_k < len(logits_V):
        if sampling.top_p == 1:
            return _draw(logits_V.softmax(dim=-1), generator)
        ranked, ids = logits_V.sort(descending=True, stable=True)
    else:
        ranked, ids = logits_V.topk(sampling.top_k)
    probabilities = ranked.softmax(dim=-1)
    if sampling.top_p < 1:
        before = probabilities.cumsum(dim=-1) - probabilities
        probabilities = probabilities.masked_fill(before >= sampling.top_p, 0.0)
    return int(ids[_draw(probabilities, generator)])


def _draw(weights: Tensor, generator: torch.Generator) -> int:
    """An index, by inverting the cumulative distribution at one uniform number."""
    cumulative = weights.double().cumsum(dim=-1)
    point = torch.rand(1, generator=generator, dtype=torch.float64) * cumulative[-1]
    return int(torch.searchsorted(cumulative, point, right=True).clamp(max=int(weights.nonzero()[-1])))


def generate(network: LanguageModel, prompt_ids: Sequence[int], sampling: Sampling) -> Generator[int, None, Ending]:
    """Yield the tokens that follow a prompt; the generator's return value says why it ended.

    Args:
        network: A language model in evaluation mode.
        prompt_ids: At least one token (the end-of-text token begins a new text), at most `network.model.max_length`.
        sampling: How to choose and when to stop. The network's `max_length` also ends the text.

    Raises:
        ModelError: The prompt is empty or too long, or the network is in training mode.
    """
    capacity = _check(network, [prompt_ids], sampling.max_new_tokens)
    cache = network.model.new_cache(1, capacity)
    generator = sampling.generator()
    new_ids = list(prompt_ids)
    for count in range(1, sampling.max_new_tokens + 1):
        chosen = choose(read(network, [new_ids], cache)[0], sampling, generator)
        if chosen in sampling.stop_ids:
            return Ending.stop
        yield chosen
        new_ids = [chosen]
        if cache.length == network.model.max_length or count == sampling.max_new_tokens:
            break
    return Ending.length


def generate_batch(
    network: LanguageModel, prompts: Sequence[Sequence[int]], samplings: Sequence[Sampling]
) -> list[list[int]]:
    """The tokens that follow each of several prompts, as `generate` gives them for each alone.

    Prompts may differ in length and sampling. The arithmetic is that of a larger matrix product, so that two tokens
    whose logits differ in the last bits only may change places.

    Raises:
        ModelError: As for `generate`.
    """
    capacity = _check(network, prompts, max(sampling.max_new_tokens for sampling in samplings))
    cache = network.model.new_cache(len(prompts), capacity)
    generators = [sampling.generator() for sampling in samplings]
    results: list[list[int]] = [[] for _ in prompts]
    active = list(range(len(prompts)))
    new_ids = [list(prompt) for prompt in prompts]
    while active:
        logits_BV = read(network, new_ids, cache)
        going_on = []
        for row, number in enumerate(active):
            chosen = choose(logits_BV[row], samplings[number], generators[number])
            if chosen in samplings[number].stop_ids:
                continue
            results[number].append(chosen)
            at_end = cache.lengths[row] == network.model.max_length
            if not at_end and len(results[number]) < samplings[number].max_new_tokens:
                going_on.append(row)
        if len(going_on) < len(active):
            cache.keep(going_on)
        active = [active[row] for row in going_on]
        new_ids = [[results[number][-1]] for number in active]
    return results


@torch.inference_mode()
def read(network: LanguageModel, new_ids: Sequence[Sequence[int]], cache: Cache) -> Tensor:
    """Read each sequence's new tokens into the cache; return the logits `(batch, vocabulary)` of what follows.

    Raises:
        ModelError: A sequence is longer than the cache has room for.
    """
    lengths = [len(ids) for ids in new_ids]
    longest = max(lengths)
    device = network.head_weight_VD.device
    tokens_BT = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in new_ids], device=device)
    if min(lengths) == longest:
        return network.head(network.model(tokens_BT, None, cache)[:, -1])
    lengths_B = torch.tensor(lengths, device=device)
    hidden_BTD = network.model(tokens_BT, lengths_B, cache)
    return network.head(hidden_BTD[torch.arange(len(lengths), device=device), lengths_B - 1])


def _check(network: LanguageModel, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> int:
    """Refuse what can't be gone on from; return the places that a cache needs."""
    if network.training:
        raise ModelError(
            "The network is in training mode, in which dropout would change its answers; call eval() first."
        )
    longest, allowed = max(map(len, prompts)), network.model.max_length
    if min(map(len, prompts)) == 0:
        raise ModelError("A prompt is empty; begin a new text with the end-of-text token.")
    if longest > allowed:
        raise ModelError(f"A prompt of {longest} tokens is longer than the model's {allowed}; shorten it.")
    return min(allowed, longest + max_new_tokens)
