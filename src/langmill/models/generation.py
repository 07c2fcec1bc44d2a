"""Writing text one token after the other, with a cache of what was read: by sampling, greedily, or with beams.

What a network must offer for it is `Decodes`: a causal language model goes on from a prompt, an encoder-decoder writes
from a source text; to this module both are sequences that grow.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from langmill.config.sections import require
from langmill.errors import ConfigError, ModelError
from langmill.models.base import Cache

ReturnT = TypeVar("ReturnT")
GREEDY_BELOW = 1e-5
"""Temperatures below this are 0: logits divided by a smaller one may leave float32, and what is drawn is the likeliest
token anyway."""
LEAST_PENALTY = 0.01
"""The smallest repetition penalty: logits divided by a smaller one may leave float32."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen, and when to stop."""

    max_new_tokens: int
    """Stop after this many tokens."""
    temperature: float
    """Logits are divided by this; 0, and all below `GREEDY_BELOW`, always takes the likeliest token."""
    top_k: int
    """Choose among this many of the likeliest tokens; 0 for all."""
    top_p: float
    """Choose among the fewest tokens whose probabilities add up to this (Holtzman et al., 2020); 1 for all."""
    min_p: float
    """Choose among tokens that are at least this many times as likely as the likeliest one (Nguyen et al., 2024); 0 for
    all."""
    repetition_penalty: float
    """Positive logits of tokens that were read or written are divided by this, negative ones multiplied (Keskar et al.,
    2019); 1 leaves them."""
    seed: int
    """Equal seeds give equal texts, whatever else is drawn in the process."""
    stop_ids: tuple[int, ...]
    """Stop before any of these tokens."""

    def __post_init__(self) -> None:
        require(self.max_new_tokens >= 1, "max_new_tokens", self.max_new_tokens, "1 or more")
        require(0 <= self.temperature <= 100, "temperature", self.temperature, "0 to 100")
        require(self.top_k >= 0, "top_k", self.top_k, "0 or more")
        require(0 < self.top_p <= 1, "top_p", self.top_p, "above 0, at most 1")
        require(0 <= self.min_p <= 1, "min_p", self.min_p, "0 to 1")
        require(
            LEAST_PENALTY <= self.repetition_penalty <= 100,
            "repetition_penalty",
            self.repetition_penalty,
            f"{LEAST_PENALTY} to 100",
        )
        require(0 <= self.seed < 2**63, "seed", self.seed, "0 to 9223372036854775807")

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is always taken."""
        return self.temperature < GREEDY_BELOW

    def generator(self) -> torch.Generator:
        """A fresh source of random numbers with the seed."""
        return torch.Generator().manual_seed(self.seed)


def likeliest(max_new_tokens: int, stop_ids: tuple[int, ...], repetition_penalty: float = 1.0) -> Sampling:
    """Greedy search: always the likeliest token, so that nothing else needs to be said."""
    return Sampling(
        max_new_tokens=max_new_tokens,
        temperature=0.0,
        top_k=0,
        top_p=1.0,
        min_p=0.0,
        repetition_penalty=repetition_penalty,
        seed=0,
        stop_ids=stop_ids,
    )


@dataclass(frozen=True)
class Beams:
    """How the likeliest text is searched for."""

    max_new_tokens: int
    """Tokens of a text, at most."""
    num_beams: int
    """Texts that are pursued side by side; 1 is greedy search."""
    length_penalty: float
    """A text's log probability is divided by its length in tokens, the stop token included, to this power: above 0
    favours longer ones."""
    stop_ids: tuple[int, ...]
    """A text ends before any of these tokens."""

    def __post_init__(self) -> None:
        require(self.max_new_tokens >= 1, "max_new_tokens", self.max_new_tokens, "1 or more")
        require(1 <= self.num_beams <= 100, "num_beams", self.num_beams, "1 to 100")
        require(-10 <= self.length_penalty <= 10, "length_penalty", self.length_penalty, "-10 to 10")


@dataclass(frozen=True)
class GenerationConfig:
    """How a model writes where the asker does not say: the content of a model folder's `generation_config.json`.

    The command line, the server, MLflow's package and `transformers` all start from it.
    """

    max_new_tokens: int
    """Tokens of an answer, at most."""
    temperature: float
    """0 always takes the likeliest token."""
    top_k: int = 0
    """As in `Sampling`, with a temperature above 0."""
    top_p: float = 1.0
    """As in `Sampling`, with a temperature above 0."""
    min_p: float = 0.0
    """As in `Sampling`, with a temperature above 0."""
    repetition_penalty: float = 1.0
    """As in `Sampling`; 1 with several beams."""
    num_beams: int = 1
    """More than 1 searches, with a temperature of 0."""
    length_penalty: float = 1.0
    """As in `Beams`."""

    def __post_init__(self) -> None:
        # Both refuse what is out of range, whichever the model uses by itself.
        Beams(self.max_new_tokens, self.num_beams, self.length_penalty, ())
        self.decoding((), {}, searches=False)

    @property
    def samples(self) -> bool:
        """Whether tokens are drawn: the model goes on from a text as it likes, and does not answer it."""
        return self.temperature >= GREEDY_BELOW

    def decoding(
        self, stop_ids: tuple[int, ...], asked: Mapping[str, float | None], *, searches: bool = True
    ) -> Sampling | Beams:
        """How to write an answer.

        Args:
            stop_ids: The tokens that end a text.
            asked: What the asker says, by the names of the fields here and `seed`; None leaves it to the model. A
                search that is only the model's own way gives way to a temperature or a penalty that is asked for.
            searches: Whether the model's own beams may be used where nothing is asked; a stream has none.

        Returns:
            `Beams` for a search with several beams, else `Sampling`.

        Raises:
            ConfigError: A value is out of its range, or a search would ignore what is asked for.
        """
        said = {name: value for name, value in asked.items() if value is not None}
        temperature = float(said.get("temperature", self.temperature))
        draws = said.get("temperature", 0) >= GREEDY_BELOW
        penalises = said.get("repetition_penalty", 1) != 1
        if "num_beams" in said:
            num_beams = int(said["num_beams"])
        else:
            num_beams = self.num_beams if searches and temperature < GREEDY_BELOW and not penalises else 1
        if num_beams > 1:
            ignored = {"temperature": draws, "repetition_penalty": penalises, "seed": "seed" in said}
            ignored |= {name: said.get(name, neutral) != neutral for name, neutral in _NEUTRAL.items()}
            if name := next((name for name, there in ignored.items() if there), None):
                raise ConfigError(
                    f"{name} is {said[name]:g} and num_beams is {num_beams}; a search leaves nothing to "
                    f"chance and knows no penalty: leave {name} out, or set num_beams to 1."
                )
        max_new_tokens = int(said.get("max_new_tokens", self.max_new_tokens))
        if num_beams != 1:
            return Beams(max_new_tokens, num_beams, float(said.get("length_penalty", self.length_penalty)), stop_ids)
        if said.get("length_penalty", 1.0) != 1:
            raise ConfigError(
                f"length_penalty is {said['length_penalty']:g}, but nothing is searched for; "
                "set num_beams to more than 1, or leave length_penalty out."
            )
        return Sampling(
            max_new_tokens,
            temperature,
            int(said.get("top_k", self.top_k)),
            float(said.get("top_p", self.top_p)),
            float(said.get("min_p", self.min_p)),
            float(said.get("repetition_penalty", self.repetition_penalty)),
            int(said.get("seed", 1)),
            stop_ids,
        )

    def to_json(self) -> dict[str, Any]:
        """The entries of `generation_config.json`, in the words of `transformers`; what does not apply is left out."""
        written: dict[str, Any] = {"do_sample": self.samples, "max_new_tokens": self.max_new_tokens}
        if self.samples:
            written |= {"temperature": self.temperature, "top_k": self.top_k, "top_p": self.top_p}
            if self.min_p > 0:
                written["min_p"] = self.min_p
        written |= {"repetition_penalty": self.repetition_penalty, "num_beams": self.num_beams}
        if self.num_beams > 1:
            written |= {"length_penalty": self.length_penalty, "early_stopping": False}
        return written

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> GenerationConfig:
        """What `to_json` wrote.

        Raises:
            ConfigError: A value is missing or out of its range.
        """
        try:
            temperature = float(written.get("temperature", 1.0)) if written["do_sample"] else 0.0
            return cls(
                max_new_tokens=int(written["max_new_tokens"]),
                temperature=temperature,
                top_k=int(written.get("top_k", 0)),
                top_p=float(written.get("top_p", 1.0)),
                min_p=float(written.get("min_p") or 0.0),
                repetition_penalty=float(written.get("repetition_penalty", 1.0)),
                num_beams=int(written.get("num_beams", 1)),
                length_penalty=float(written.get("length_penalty", 1.0)),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"generation_config.json can't be read ({error!r}); make the model again.") from error


_NEUTRAL = {"top_k": 0, "top_p": 1.0, "min_p": 0.0}
"""What asks for nothing."""


class Decodes(Protocol):
    """What generation needs of a network."""

    @property
    def max_length(self) -> int:
        """Tokens of a sequence, at most."""

    def begin(self, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> tuple[Cache, list[list[int]]]:
        """A cache for so many prompts, and the ids that each sequence is to read first.

        Raises:
            ModelError: A prompt is empty or too long, or the network is in training mode.
        """

    def read(self, new_ids: Sequence[Sequence[int]], cache: Cache) -> Tensor:
        """Read each sequence's new tokens into the cache; return the logits `(batch, vocabulary)` of what follows."""


class Ending(StrEnum):
    """Why a text ended (the words of the OpenAI interface)."""

    stop = "stop"
    """A stop token came."""
    length = "length"
    """`max_new_tokens` are there, or the network can look back no further."""


def choose(logits_V: Tensor, sampling: Sampling, generator: torch.Generator, seen_ids: Sequence[int] = ()) -> int:
    """The next token's id.

    The order is repetition penalty, temperature, top k, top p, min p, as in `transformers`. Chosen on the CPU in
    float32, so that a seed means the same on every device.

    Args:
        logits_V: What the network says.
        sampling: How to choose.
        generator: Where chance comes from.
        seen_ids: What was read and written, for the repetition penalty.

    Raises:
        ModelError: A logit is not a number.
    """
    if sampling.repetition_penalty != 1:
        logits_V = penalised(logits_V, sampling.repetition_penalty, seen_ids)
    if sampling.greedy:
        chosen = int(logits_V.argmax())
        _require_finite(logits_V[chosen])
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
        beyond[0] = False  # float32 takes the smallest top_p for 0; the likeliest token stays all the same
        probabilities = probabilities.masked_fill(beyond, 0.0)
    if sampling.min_p > 0:  # shares of the likeliest one: it does not matter whether what is left adds up to one
        probabilities = probabilities.masked_fill(probabilities < sampling.min_p * probabilities[0], 0.0)
    return int(ids[_draw(probabilities, generator)])


def penalised(logits_V: Tensor, penalty: float, seen_ids: Sequence[int]) -> Tensor:
    """The logits with those of the tokens seen made smaller."""
    seen = torch.tensor(sorted(set(seen_ids)), dtype=torch.long, device=logits_V.device)
    logits_V = logits_V.float().clone()
    logits_V[seen] = torch.where(logits_V[seen] < 0, logits_V[seen] * penalty, logits_V[seen] / penalty)
    return logits_V


def _draw(weights: Tensor, generator: torch.Generator) -> int:
    """An index, by inverting the cumulative distribution at one uniform number."""
    cumulative = weights.double().cumsum(dim=-1)
    _require_finite(cumulative[-1])
    point = torch.rand(1, generator=generator, dtype=torch.float64) * cumulative[-1]
    return int(torch.searchsorted(cumulative, point, right=True).clamp(max=int(weights.nonzero()[-1])))


def _require_finite(value: Tensor) -> None:
    """Refuse to choose by what is not a number: the same token would be chosen for ever."""
    if not math.isfinite(value):
        raise ModelError("The network gave a logit that is not a number; its weights or its input are damaged.")


def generate(network: Decodes, prompt_ids: Sequence[int], sampling: Sampling) -> Generator[int, None, Ending]:
    """Yield the tokens that follow a prompt; the generator's return value says why it ended.

    Args:
        network: A language model or an encoder-decoder in evaluation mode.
        prompt_ids: At least one token (the end-of-text token begins a new text), at most `network.max_length`.
        sampling: How to choose and when to stop. The network's `max_length` also ends the text.

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


CLOSE = 1e-3
"""Two logits or log probabilities nearer than this may change places when other texts are written beside: a larger
matrix product rounds otherwise. Rounding alone moves them by 1e-6 to 1e-4."""


def generate_batch(
    network: Decodes,
    prompts: Sequence[Sequence[int]],
    samplings: Sequence[Sampling],
    close: set[int] | None = None,
) -> list[list[int]]:
    """The tokens that follow each of several prompts, as `generate` gives them for each alone.

    Prompts may differ in length and sampling. The arithmetic is that of a larger matrix product, so that two tokens
    whose logits differ in the last bits only may change places.

    Args:
        network: As for `generate`.
        prompts: As for `generate`.
        samplings: One a prompt.
        close: Gets the numbers of the prompts with a temperature of 0 at which two tokens were `CLOSE`.

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
        going_on = []
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
                going_on.append(row)
        if len(going_on) < len(active):
            cache.keep(going_on)
        active = [active[row] for row in going_on]
        new_ids = [[results[number][-1]] for number in active]
    return results


def _is_close(logits_V: Tensor, sampling: Sampling, seen_ids: Sequence[int]) -> bool:
    """Whether rounding may decide which token is the likeliest."""
    if sampling.temperature > 0:
        return False
    if sampling.repetition_penalty != 1:
        logits_V = penalised(logits_V, sampling.repetition_penalty, seen_ids)
    first, second = logits_V.topk(2).values.tolist()
    return bool(first - second < CLOSE)


def returned(steps: Generator[object, None, ReturnT]) -> ReturnT:
    """What a generator returns, once it is run to its end."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: ReturnT = end.value
            return result


# Beams ---------------------------------------------------------------------------------------------------------------

_NEVER = -1.0e9  # the score of what can't be chosen, as in transformers
Accepts = Callable[[Sequence[int]], bool]
"""Whether a text, as token ids, has what it must have."""


class _Search:
    """The beams of one prompt, step by step as in `transformers` (early_stopping=False).

    Attributes:
        texts: What each running beam has written.
        scores_K: Its log probability.
        origins: Which beam of the step before each running beam goes on from.
        close: Whether two scores were `CLOSE` between which it was decided what goes on or ends.
    """

    def __init__(self, beams: Beams, limit: int, accepts: Accepts | None) -> None:
        self.beams = beams
        self.limit = limit
        self.accepts = accepts
        self.texts: list[list[int]] = [[] for _ in range(beams.num_beams)]
        self.scores_K = torch.full((beams.num_beams,), _NEVER)
        self.scores_K[0] = 0.0  # all beams read the same prompt: one of them stands for all
        self.origins = [0] * beams.num_beams
        self.finished: list[tuple[float, list[int]]] = []
        self.length = 0
        self.ended = False
        self.close = False

    def step(self, logits_KV: Tensor) -> None:
        """Take the logits of what follows each running beam."""
        beams = self.beams
        self.length += 1
        total_KV = logits_KV.float().cpu().log_softmax(dim=-1) + self.scores_K[:, None]
        num_candidates = min(max(2, 1 + len(beams.stop_ids)) * beams.num_beams, total_KV.numel())
        scores, places = total_KV.flatten().topk(min(num_candidates + 1, total_KV.numel()))
        _require_finite(scores[0])
        vocab_size = total_KV.shape[1]
        candidates = [
            (score, place // vocab_size, place % vocab_size)
            for score, place in zip(scores.tolist(), places.tolist(), strict=True)
        ]
        last = self.length == self.limit
        self._note_close(candidates, last)
        del candidates[num_candidates:]
        running: list[tuple[float, int, int]] = []
        for rank, (score, origin, token) in enumerate(candidates):
            stops = token in beams.stop_ids
            if not (stops or last):
                running.append((score, origin, token))
            elif rank < beams.num_beams and score > _NEVER:  # the others only see to it that enough beams go on
                text = self.texts[origin] if stops else [*self.texts[origin], token]
                self.finished.append((score / self.length**beams.length_penalty, text))
        self.finished.sort(key=lambda pair: -pair[0])
        self.close |= _near([score for score, _ in self.finished[beams.num_beams - 1 : beams.num_beams + 1]])
        del self.finished[beams.num_beams :]
        if last or not running:
            self.ended = True
            return
        running = running[: beams.num_beams]
        self.texts = [[*self.texts[origin], token] for _, origin, token in running]
        self.origins = [origin for _, origin, _ in running]
        self.scores_K = torch.tensor([score for score, _, _ in running])
        best_running = float(self.scores_K[0]) / self.length**beams.length_penalty
        if len(self.finished) == beams.num_beams:
            self.ended = best_running <= self.finished[-1][0]
            self.close |= abs(best_running - self.finished[-1][0]) < CLOSE

    def _note_close(self, candidates: Sequence[tuple[float, int, int]], last: bool) -> None:
        """Note whether it is close which candidates may end or go on; `candidates` has one more than is used."""
        wanted = self.beams.num_beams
        stops = [token in self.beams.stop_ids for _, _, token in candidates]
        running = [score for (score, _, _), stop in zip(candidates, stops, strict=True) if not stop]
        borders = [running[wanted - 1 : wanted + 1]] if not last else []
        if last or any(stops[wanted - 1 : wanted + 1]):
            borders.append([score for score, _, _ in candidates[wanted - 1 : wanted + 1]])
        self.close |= any(_near(border) for border in borders)

    @property
    def is_close(self) -> bool:
        """Whether rounding may decide which text is the best."""
        scores = [score for score, _ in self.finished]
        preferred = scores[:2] if self.accepts is None else scores
        return self.close or any(_near(list(pair)) for pair in itertools.pairwise(preferred))

    @property
    def best(self) -> list[int]:
        """The text with the best score: of those that are accepted, where one is."""
        found = [text for _, text in self.finished] or self.texts[:1]
        accepts = self.accepts
        return found[0] if accepts is None else next(filter(accepts, found), found[0])


def _near(scores: Sequence[float]) -> bool:
    """Whether there are two scores, the better one first, and rounding may change their order."""
    return len(scores) == 2 and scores[1] > _NEVER / 2 and scores[0] - scores[1] < CLOSE


def beam_search(
    network: Decodes,
    prompts: Sequence[Sequence[int]],
    beams: Beams,
    accepts: Sequence[Accepts | None] | None = None,
    close: set[int] | None = None,
) -> list[list[int]]:
    """The likeliest text that follows each prompt, as `transformers` finds it with the same number of beams.

    Args:
        network: A language model or an encoder-decoder in evaluation mode.
        prompts: Prompts or source texts.
        beams: How to search.
        accepts: For each prompt, which of the texts that the search ends with are preferred to likelier ones.
        close: Gets the numbers of the prompts at which scores were `CLOSE`.

    Returns:
        The new tokens for each prompt, without a stop token.

    Raises:
        ModelError: A prompt is empty or too long, or the network is in training mode.
    """
    return returned(beam_steps(network, prompts, beams, accepts, close))


def beam_steps(
    network: Decodes,
    prompts: Sequence[Sequence[int]],
    beams: Beams,
    accepts: Sequence[Accepts | None] | None = None,
    close: set[int] | None = None,
) -> Generator[None, None, list[list[int]]]:
    """`beam_search` by turns: yields after each token, and returns what `beam_search` does."""
    cache, new_ids = network.begin(prompts, beams.max_new_tokens)
    searches = [
        _Search(beams, min(beams.max_new_tokens, network.max_length - len(ids) + 1), preference)
        for ids, preference in zip(new_ids, accepts or [None] * len(new_ids), strict=True)
    ]
    logits_BV = network.read(new_ids, cache)
    active = list(searches)
    logits_BKV = logits_BV[:, None].expand(-1, beams.num_beams, -1)
    rows = torch.arange(len(active))[:, None].expand(-1, beams.num_beams)  # each beam's place in the cache
    while True:
        for search, logits_KV in zip(active, logits_BKV, strict=True):
            search.step(logits_KV)
        yield
        going_on = [number for number, search in enumerate(active) if not search.ended]
        if not going_on:
            if close is not None:
                close.update(number for number, search in enumerate(searches) if search.is_close)
            return [search.best for search in searches]
        cache.keep([int(rows[number, origin]) for number in going_on for origin in active[number].origins])
        active = [active[number] for number in going_on]
        rows = torch.arange(len(active) * beams.num_beams).view(len(active), beams.num_beams)
        logits_BV = network.read([text[-1:] for search in active for text in search.texts], cache)
        logits_BKV = logits_BV.view(len(active), beams.num_beams, -1)
