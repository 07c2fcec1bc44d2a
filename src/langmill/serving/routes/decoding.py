"""How a request says that a text is to be written, and what the engine is told of it."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from langmill.config.sections import Serving
from langmill.errors import ConfigError, RequestError
from langmill.models.generation.config import LEAST_PENALTY, Beams, Sampling
from langmill.serving.jobs import LoadedVersion
from langmill.serving.routes.structure import ResponseFormat, StructuredOutputs, grammar_of
from langmill.serving.schema import Body, Given, Ignored, IgnoredObject, Items
from langmill.tasks.base import Generates

MAX_LOGPROBS = 20
_MAX_STOPS = 4
_MAX_STOP_CHARACTERS = 100
_MAX_BIASES = 1024
_DECODING = (
    "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "num_beams", "length_penalty", "seed",
)  # fmt: skip


class StreamOptions(Given):
    """OpenAI's options of a stream."""

    include_usage: bool = Field(default=False, description="Send the token counts before the stream ends.")
    include_obfuscation: Literal[False] = False


class GenerationBody(Body):
    """How a text is to be written; what is left out is as the model's own `generation_config.json` has it."""

    max_tokens: Annotated[int, Field(ge=1, lt=2**63)] | None = Field(
        default=None, description="Tokens to generate at most."
    )
    temperature: float | None = Field(default=None, ge=0, le=2, description="0 is greedy.")
    top_p: float | None = Field(default=None, gt=0, le=1, description="Share of the probability to draw from.")
    top_k: int | None = Field(
        default=None, ge=0, description="Draw from this many of the most likely tokens; 0 from all."
    )
    min_p: float | None = Field(
        default=None, ge=0, le=1, description="Draw from tokens this many times as likely as the first."
    )
    repetition_penalty: float | None = Field(
        default=None, ge=LEAST_PENALTY, le=100, description="Make what is there already less likely; 1 does not."
    )
    presence_penalty: float = Field(
        default=0.0, ge=-2, le=2, description="Taken from the logits of tokens that were generated already."
    )
    frequency_penalty: float = Field(
        default=0.0, ge=-2, le=2, description="Taken from a token's logit each time that it was generated."
    )
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] = Field(
        default={}, description="Added to the logits, by token id.", max_length=_MAX_BIASES
    )
    num_beams: int | None = Field(
        default=None, ge=1, lt=2**63, description="Beam search with this many beams; not with stream."
    )
    length_penalty: float | None = Field(default=None, ge=-10, le=10, description="With beams: favour longer texts.")
    seed: int | None = Field(
        default=None, ge=0, lt=2**63, description="Equal seeds give equal texts; of `n` choices each has the next one."
    )
    stop: str | Items[str] = Field(default=[], description="Up to four texts to stop before.", validate_default=True)
    ignore_eos: bool = Field(default=False, description="Go on behind the end of text, as load generators want it.")
    n: int = Field(default=1, ge=1, lt=2**63, description="Choices for each prompt.")
    stream: bool = Field(default=False, description="Send the text as server-sent events while it is written.")
    stream_options: StreamOptions = StreamOptions()
    exact: bool = Field(
        default=False,
        description="Decode alone: the same bits whatever else the server does (`serving.exact`: always).",
    )
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    store: Literal[False] = False
    metadata: dict[str, str] = Field(default={}, description="Accepted and ignored.")
    service_tier: Literal["auto", "default"] = "auto"
    safety_identifier: Ignored = None
    prompt_cache_key: Ignored = None
    prompt_cache_retention: Ignored = None
    prompt_cache_options: IgnoredObject = None
    skip_special_tokens: Literal[True] = True

    @field_validator("stop")
    @classmethod
    def _few_stops(cls, value: str | list[str]) -> list[str]:
        stops = [value] if isinstance(value, str) else value
        if len(stops) > _MAX_STOPS:
            raise ValueError(f"holds {len(stops)} texts; up to {_MAX_STOPS} are allowed")
        if any(not 0 < len(stop) <= _MAX_STOP_CHARACTERS for stop in stops):
            raise ValueError(f"holds a text that does not have 1 to {_MAX_STOP_CHARACTERS} characters")
        return stops

    @field_validator("logit_bias")
    @classmethod
    def _token_ids(cls, value: dict[str, float]) -> dict[str, float]:
        if wrong := next((key for key in value if not (key.isascii() and key.isdecimal() and len(key) < 10)), None):
            raise ValueError(f"has the key {wrong[:40]!r}; the keys are token ids, as /tokenize gives them")
        return value

    @property
    def max_tokens_field(self) -> str:
        """The name by which `max_tokens` was sent."""
        return "max_tokens"

    @property
    def echoes_logprobs(self) -> bool:
        """Whether the log probabilities of the prompt's tokens are wanted too."""
        return False

    @property
    def top_logprobs_asked(self) -> int | None:
        """So many log probabilities beside each token's own; None for none at all."""
        return None

    @property
    def is_structured(self) -> bool:
        """Whether the text must follow a grammar."""
        free = self.response_format is None or self.response_format.type == "text"
        return not free or self.structured_outputs is not None

    @property
    def grammar(self) -> str | None:
        """The grammar that the text must follow, for `langmill.serving.structured`; None for none.

        Raises RequestError where what is said of it is no such thing, or is said twice.
        """
        return grammar_of(self.response_format, self.structured_outputs)


def decoding_of(settings: Serving, loaded: LoadedVersion, body: GenerationBody) -> Sampling | Beams:
    """How to write: as asked, and where nothing is asked, as the model's own `generation_config.json` has it.

    Raises RequestError where too much is asked for, or what does not go together.
    """
    model = loaded.model
    task, config = model.task, model.generation_config
    assert isinstance(task, Generates) and config is not None
    if (beams := body.num_beams or 1) > settings.max_beams:
        raise RequestError(f"num_beams is {beams}; up to {settings.max_beams} are allowed.", 400, "num_beams")
    wants = _only_sampled(body)
    if beams > 1 and wants:
        raise RequestError(f"num_beams is {beams} and {wants[0]}; {wants[1]}", 400, "num_beams")
    asked: dict[str, Any] = {name: getattr(body, name) for name in _DECODING}
    usual = min(config.max_new_tokens, settings.max_new_tokens)
    asked["max_new_tokens"] = usual if body.max_tokens is None else max(1, body.max_tokens)
    searches = not wants and config.num_beams <= settings.max_beams
    # Who scores a prompt (lm-eval) takes the last token for the one that was written, so there must be one.
    scores = body.echoes_logprobs and body.max_tokens == 1
    stop_ids = () if body.ignore_eos or scores else task.stop_ids(model.tokenizer)
    try:
        decoding = config.decoding(stop_ids, asked, searches=searches)
    except ConfigError as error:
        message = str(error).replace("max_new_tokens", body.max_tokens_field)
        raise RequestError(message, 400, message.split(" ", 1)[0]) from error
    if isinstance(decoding, Beams):
        return decoding
    return replace(
        decoding,
        max_new_tokens=0 if body.max_tokens == 0 else decoding.max_new_tokens,
        seed=secrets.randbits(63) if body.seed is None else decoding.seed,
        presence_penalty=body.presence_penalty,
        frequency_penalty=body.frequency_penalty,
        logit_bias=_biases(loaded, body),
    )


def _only_sampled(body: GenerationBody) -> tuple[str, str] | None:
    """What is asked for that a search can't give, and why."""
    alone = "a search finds one text, and knows no log probabilities and no guide."
    reasons = (
        (body.stream, "stream is true", "a search knows its text only at the end."),
        (body.n > 1, f"n is {body.n}", alone),
        (body.top_logprobs_asked is not None, "logprobs are asked for", alone),
        (body.presence_penalty != 0, "presence_penalty is not 0", "a search knows no penalty."),
        (body.frequency_penalty != 0, "frequency_penalty is not 0", "a search knows no penalty."),
        (bool(body.logit_bias), "logit_bias is given", "a search knows no bias."),
        (body.ignore_eos, "ignore_eos is true", "a search compares texts that end."),
        (body.is_structured, "a structure is asked for", alone),
    )
    return next(((what, why) for wanted, what, why in reasons if wanted), None)


def _biases(loaded: LoadedVersion, body: GenerationBody) -> tuple[tuple[int, float], ...]:
    """The biases by token id. Raises RequestError for ids that the vocabulary does not have."""
    biases = tuple((int(key), value) for key, value in body.logit_bias.items())
    loaded_ids(loaded, [token for token, _ in biases], "logit_bias")
    return biases


def loaded_ids(loaded: LoadedVersion, ids: Sequence[int], field: str) -> list[int]:
    """Token ids that a client gave. Raises RequestError where one is not in the vocabulary."""
    size = loaded.model.tokenizer.vocab_size
    if ids and max(ids) >= size:
        raise RequestError(
            f"{field} has the token id {max(ids)}, and the vocabulary of {loaded.name} has {size} tokens; send "
            "text, or ids that /tokenize gives for this model.",
            400, field,
        )  # fmt: skip
    return list(ids)


def for_choice(decoding: Sampling | Beams, number: int) -> Sampling | Beams:
    """How choice `number` of a prompt is drawn: each with a seed of its own."""
    if number == 0 or isinstance(decoding, Beams):
        return decoding
    return replace(decoding, seed=(decoding.seed + number) % 2**63)
