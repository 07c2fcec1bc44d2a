"""How a model writes: by sampling, greedily or with beams, what is allowed there, and what it does by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from langmill.config.sections import require
from langmill.errors import ConfigError

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
    keep_placeholders: bool = False
    """Of the texts that the search ends with, take the likeliest that holds the source's placeholders (`%s`, `{name}`,
    markup), where one does and the task knows of them."""

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
    keep_placeholders: bool = False
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
            length_penalty = float(said.get("length_penalty", self.length_penalty))
            return Beams(max_new_tokens, num_beams, length_penalty, stop_ids, self.keep_placeholders)
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
            written |= {"keep_placeholders": True} if self.keep_placeholders else {}
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
                keep_placeholders=bool(written.get("keep_placeholders", False)),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"generation_config.json can't be read ({error!r}); make the model again.") from error


_NEUTRAL = {"top_k": 0, "top_p": 1.0, "min_p": 0.0}
"""What asks for nothing."""
