"""Generating texts token by token: one alone, or a fixed batch."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import NamedTuple

from torch import Tensor

from langmill.models.generation.config import Sampling
from langmill.models.generation.guide import Guide
from langmill.models.generation.logprobs import TokenLogprobs, token_logprobs
from langmill.models.generation.network import Decodes, Ending
from langmill.models.generation.sampling import adjusted, choose, is_close


class Token(NamedTuple):
    """A generated token."""

    id: int
    logprobs: TokenLogprobs | None
    """Where they were asked for."""


class GeneratedSequence:
    """A text while it is generated: chooses its tokens from the network's logits, and knows when it ends.

    Args:
        first_ids: The tokens that the network reads before the first new one: `Decodes.begin` says which.
        sampling: How to choose.
        max_length: Tokens that the network can read.
        guide: What restricts the tokens.
        logprobs: How many of the most likely tokens' log probabilities are noted for each token; None for nothing.

    Attributes:
        ending: Why the text ended; None while it goes on.
        takes_most_likely: Whether the largest logit decides and nothing else is asked for.
    """

    def __init__(
        self,
        first_ids: Sequence[int],
        sampling: Sampling,
        max_length: int,
        guide: Guide | None = None,
        logprobs: int | None = None,
    ) -> None:
        self.sampling = sampling
        self.ending: Ending | None = None
        self._guide = guide
        self._logprobs = logprobs
        self.takes_most_likely = sampling.plain and guide is None and logprobs is None
        self._generator = sampling.generator()
        self._seen_ids = list(first_ids)
        self._prompt_length = len(self._seen_ids)
        # The last new token is not read any more.
        self._limit = min(sampling.max_new_tokens, max_length - self._prompt_length + 1)
        if self._limit < 1:
            self.ending = Ending.length

    @property
    def new_ids(self) -> list[int]:
        """The tokens generated so far."""
        return self._seen_ids[self._prompt_length :]

    def take(self, logits_V: Tensor) -> Token | None:
        """Choose the next token; None where the text ends before it.

        Raises ModelError where a logit is not a number.
        """
        allowed_V = None if self._guide is None else self._guide.allowed()
        if allowed_V is not None and not bool(allowed_V.any()):
            self.ending = Ending.stop
            return None
        chosen = choose(
            logits_V,
            self.sampling,
            self._generator,
            self._seen_ids,
            prompt_length=self._prompt_length,
            allowed_V=allowed_V,
        )
        return self.accept(chosen, logits_V)

    def accept(self, token_id: int, logits_V: Tensor | None = None) -> Token | None:
        """Go on with a token that was chosen from logits, which may be left out where `takes_most_likely`.

        Returns:
            The token; None where the text ends before it.
        """
        if token_id in self.sampling.stop_ids:
            self.ending = Ending.stop
            return None
        self._seen_ids.append(token_id)
        if len(self._seen_ids) - self._prompt_length == self._limit:
            self.ending = Ending.length
        if self._guide is not None:
            self._guide.advance(token_id)
            if self._guide.ended:
                self.ending = Ending.stop
        if self._logprobs is None or logits_V is None:
            return Token(token_id, None)
        return Token(token_id, token_logprobs(logits_V, token_id, self._logprobs))

    def is_close(self, logits_V: Tensor) -> bool:
        """Whether rounding may decide which token is taken."""
        return is_close(
            adjusted(logits_V, self.sampling, self._seen_ids, prompt_length=self._prompt_length), self.sampling
        )


def generate(network: Decodes, prompt_ids: Sequence[int], sampling: Sampling) -> Generator[int, None, Ending]:
    """Generate the tokens after a prompt; the generator's return value is why it ended.

    The network's `max_length` also ends the text; the end-of-text token begins a new one. Raises ModelError where the
    prompt is empty or too long, or the network is in training mode.
    """
    tokens = generate_tokens(network, prompt_ids, sampling)
    while True:
        try:
            yield next(tokens).id
        except StopIteration as end:
            ending: Ending = end.value
            return ending


def generate_tokens(
    network: Decodes,
    prompt_ids: Sequence[int],
    sampling: Sampling,
    guide: Guide | None = None,
    logprobs: int | None = None,
) -> Generator[Token, None, Ending]:
    """Generate as `generate` does, with what `GeneratedSequence` offers besides."""
    cache, (new_ids,) = network.begin([prompt_ids], sampling.max_new_tokens)
    text = GeneratedSequence(new_ids, sampling, network.max_length, guide, logprobs)
    while text.ending is None:
        token = text.take(network.read([new_ids], cache)[0])
        if token is not None:
            yield token
            new_ids = [token.id]
    return text.ending


def generate_batch(
    network: Decodes,
    prompts: Sequence[Sequence[int]],
    samplings: Sequence[Sampling],
    close: set[int] | None = None,
) -> list[list[int]]:
    """Generate the tokens after each of several prompts, as `generate` does for each alone.

    Prompts may differ in length and sampling. A larger matrix product rounds differently, so two tokens whose logits
    differ in the last bits only may change order.

    `close` gets the indices of the prompts with a temperature of 0 at which two tokens were `CLOSE`. Raises ModelError
    as for `generate`.
    """
    cache, new_ids = network.begin(prompts, max(sampling.max_new_tokens for sampling in samplings))
    texts = [
        GeneratedSequence(ids, sampling, network.max_length) for ids, sampling in zip(new_ids, samplings, strict=True)
    ]
    active = list(range(len(prompts)))
    while active:
        logits_BV = network.read(new_ids, cache)
        for row, number in enumerate(active):
            if close is not None and number not in close and texts[number].is_close(logits_BV[row]):
                close.add(number)
            texts[number].take(logits_BV[row])
        unfinished = [row for row, number in enumerate(active) if texts[number].ending is None]
        if len(unfinished) < len(active):
            cache.keep(unfinished)
        active = [active[row] for row in unfinished]
        new_ids = [texts[number].new_ids[-1:] for number in active]
    return [text.new_ids for text in texts]
