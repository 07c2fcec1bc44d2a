"""Settings of decoding, with their limits: sampling, beam search, and a model's own generation config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch

from langmill.config.constraints import require
from langmill.errors import ConfigError

GREEDY_BELOW = 1e-5
"""Lower temperatures mean greedy decoding: dividing logits by them may overflow float32, and sampling would give the
same token anyway."""
LEAST_PENALTY = 0.01
"""The smallest repetition penalty: logits divided by a smaller one may leave float32."""


@dataclass(frozen=True)
class Sampling:
    """Settings of sampling and greedy decoding."""

    max_new_tokens: int
    """Stop after this many tokens; 0 only reads the prompt."""
    temperature: float = 0.0
    """Divisor of the logits; below `GREEDY_BELOW`, decoding is greedy."""
    top_k: int = 0
    """Choose among this many of the most likely tokens; 0 for all."""
    top_p: float = 1.0
    """Choose among the fewest tokens whose probabilities add up to this (Holtzman et al., 2020); 1 for all."""
    min_p: float = 0.0
    """Choose among tokens with at least this share of the highest probability (Nguyen et al., 2024); 0 for all."""
    repetition_penalty: float = 1.0
    """Positive logits of tokens in the prompt or the new text are divided by this, negative ones multiplied (Keskar et
    al., 2019); 1 leaves them."""
    seed: int = 1
    """Equal seeds give equal texts, whatever else the process draws."""
    stop_ids: tuple[int, ...] = ()
    """Stop before any of these tokens."""
    frequency_penalty: float = 0.0
    """Subtracted from the logit of a token of the new text, as often as it is there (as OpenAI defines it)."""
    presence_penalty: float = 0.0
    """Subtracted from the logits of the tokens of the new text, once."""
    logit_bias: tuple[tuple[int, float], ...] = ()
    """Added to the logits of these tokens; ids that the network knows, each once."""

    def __post_init__(self) -> None:
        require(self.max_new_tokens >= 0, "max_new_tokens", self.max_new_tokens, "0 or more")
        require(0 <= self.temperature <= 100, "temperature", self.temperature, "0 to 100")
        require(self.top_k >= 0, "top_k", self.top_k, "0 or more")
        require(0 < self.top_p <= 1, "top_p", self.top_p, "above 0, at most 1")
        require(0 <= self.min_p <= 1, "min_p", self.min_p, "0 to 1")
        penalty = self.repetition_penalty
        require(LEAST_PENALTY <= penalty <= 100, "repetition_penalty", penalty, f"{LEAST_PENALTY} to 100")
        require(0 <= self.seed < 2**63, "seed", self.seed, "0 to 9223372036854775807")
        for name in ("frequency_penalty", "presence_penalty"):
            require(-2 <= getattr(self, name) <= 2, name, getattr(self, name), "-2 to 2")

    @property
    def greedy(self) -> bool:
        """Whether decoding is greedy."""
        return self.temperature < GREEDY_BELOW

    @property
    def plain(self) -> bool:
        """Whether the largest logit decides."""
        penalties = (self.frequency_penalty, self.presence_penalty, self.repetition_penalty - 1)
        return self.greedy and not any(penalties) and not self.logit_bias

    def generator(self) -> torch.Generator:
        """Make a random generator with the seed."""
        return torch.Generator().manual_seed(self.seed)


@dataclass(frozen=True)
class Beams:
    """Settings of beam search."""

    max_new_tokens: int
    """Tokens of a text, at most."""
    num_beams: int
    """Number of beams; 1 is greedy search."""
    length_penalty: float
    """A text's log probability is divided by its length in tokens, the stop token included, to this power: above 0
    favours longer ones."""
    stop_ids: tuple[int, ...]
    """A text ends before any of these tokens."""
    keep_placeholders: bool = False
    """Of the texts that the search ends with, take the most likely that holds the source's placeholders (`%s`,
    `{name}`, markup), where one does and the task knows of them."""

    def __post_init__(self) -> None:
        require(self.max_new_tokens >= 1, "max_new_tokens", self.max_new_tokens, "1 or more")
        require(1 <= self.num_beams <= 100, "num_beams", self.num_beams, "1 to 100")
        require(-10 <= self.length_penalty <= 10, "length_penalty", self.length_penalty, "-10 to 10")


@dataclass(frozen=True)
class GenerationConfig:
    """How a model writes where the asker does not say: the content of `generation_config.json`.

    The command line, the server, MLflow's package and `transformers` all start from it.
    """

    max_new_tokens: int
    """Tokens of an answer, at most."""
    temperature: float
    """0 is greedy decoding."""
    top_k: int = 0
    """As in `Sampling`, with a temperature above 0."""
    top_p: float = 1.0
    """As in `Sampling`, with a temperature above 0."""
    min_p: float = 0.0
    """As in `Sampling`, with a temperature above 0."""
    repetition_penalty: float = 1.0
    """As in `Sampling`; 1 with several beams."""
    num_beams: int = 1
    """More than 1 is beam search, with a temperature of 0."""
    length_penalty: float = 1.0
    """As in `Beams`."""
    keep_placeholders: bool = False
    """As in `Beams`."""

    def __post_init__(self) -> None:
        # Both refuse values out of range, whichever the model uses by default.
        Beams(self.max_new_tokens, self.num_beams, self.length_penalty, ())
        self.decoding((), {}, searches=False)

    @property
    def samples(self) -> bool:
        """Whether tokens are sampled: the model continues a text instead of answering it."""
        return self.temperature >= GREEDY_BELOW

    def decoding(
        self, stop_ids: tuple[int, ...], asked: Mapping[str, float | None], *, searches: bool = True
    ) -> Sampling | Beams:
        """Combine a request's settings with the model's defaults.

        Args:
            stop_ids: The tokens that end a text.
            asked: The request's settings, by the names of the fields here and `seed`; None takes the default. A
                requested temperature or penalty overrides a beam search that is only the model's default.
            searches: Whether the model's default may be beam search; a stream has none.

        Returns:
            `Beams` for beam search, else `Sampling`.

        Raises:
            ConfigError: A value is out of its range, or beam search would ignore it.
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
                    f"chance and knows no penalty: leave {name} out, or set num_beams to 1.",
                    code="impossible",
                )
        max_new_tokens = int(said.get("max_new_tokens", self.max_new_tokens))
        require(max_new_tokens >= 1, "max_new_tokens", max_new_tokens, "1 or more")
        if num_beams != 1:
            length_penalty = float(said.get("length_penalty", self.length_penalty))
            return Beams(max_new_tokens, num_beams, length_penalty, stop_ids, self.keep_placeholders)
        if said.get("length_penalty", 1.0) != 1:
            raise ConfigError(
                f"length_penalty is {said['length_penalty']:g}, but nothing is searched for; "
                "set num_beams to more than 1, or leave length_penalty out.",
                code="impossible",
            )
        return Sampling(
            max_new_tokens,
            temperature,
            int(said.get("top_k", self.top_k)),
            float(said.get("top_p", self.top_p)),
            float(said.get("min_p", self.min_p)),
            float(said.get("repetition_penalty", self.repetition_penalty)),
            int(said.get("seed", Sampling.seed)),
            stop_ids,
            float(said.get("frequency_penalty", 0)),
            float(said.get("presence_penalty", 0)),
        )

    def to_json(self) -> dict[str, Any]:
        """Make the entries of `generation_config.json`, by the names of `transformers`; only those with an effect."""
        written: dict[str, Any] = {"do_sample": self.samples, "max_new_tokens": self.max_new_tokens}
        if self.samples:
            written |= {"temperature": self.temperature, "top_k": self.top_k, "top_p": self.top_p}
            if self.min_p > 0:
                written["min_p"] = self.min_p
        written |= {"repetition_penalty": self.repetition_penalty, "num_beams": self.num_beams}
        if self.num_beams > 1:
            written |= {"length_penalty": self.length_penalty, "early_stopping": False}
            written |= {"keep_placeholders": True} if self.keep_placeholders else {}
        return written

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> GenerationConfig:
        """Read the entries that `to_json` wrote. Raises ConfigError where a value is missing or out of its range."""
        try:
            values = {field.name: written[field.name] for field in fields(cls) if written.get(field.name) is not None}
            temperature = values.get("temperature", 1.0) if written["do_sample"] else 0.0
            return cls(**{**values, "temperature": temperature})
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            message = f"generation_config.json can't be read ({error!r}); make the model again."
            raise ConfigError(message, code="unreadable") from error


_NEUTRAL = {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "frequency_penalty": 0.0, "presence_penalty": 0.0}
"""Values without effect."""
