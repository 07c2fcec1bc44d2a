"""Options of the architecture `pretrained`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import PositiveFloat, PositiveInt

from langmill.config.constraints import Allowed, Share
from langmill.config.typed import settings


class BaseKind(StrEnum):
    """The kind of network that a base is taken for."""

    auto = "auto"
    causal = "causal"
    bidirectional = "bidirectional"
    encoder_decoder = "encoder_decoder"


class Tuning(StrEnum):
    """The weights that training updates."""

    full = "full"
    lora = "lora"
    head = "head"


class Implementation(StrEnum):
    """The code that runs the network."""

    auto = "auto"
    transformers = "transformers"


@settings
class LoraSettings:
    """Low-rank adaptation: to a frozen matrix W is added (alpha / rank) B A, of which A and B are learned."""

    rank: PositiveInt
    """Rows of A and columns of B."""
    alpha: PositiveFloat
    """Scale of the product, before division by the rank."""
    dropout: Share
    """Share of the input of A that is dropped in training, 0 to below 1."""
    targets: Annotated[list[str], Allowed("at least one layer's name", bool)]
    """The layers that are adapted, by the end of their names (`query`, `c_attn`), or `all-linear` for every one of the
    body."""
    last_layers: PositiveInt | None = None
    """The blocks that are adapted, counted from the end of each stack; null for all. Those before them stay as they
    came and have no backward pass, which takes as long as their forward pass; less is learned in a step."""


@settings
class PretrainedSettings:
    """Options of the architecture `pretrained`; everything else is the checkpoint's own."""

    kind: BaseKind
    """`causal` (AutoModelForCausalLM), `bidirectional` (AutoModelForSequenceClassification), `encoder_decoder`
    (AutoModelForSeq2SeqLM), or `auto`: what the base's config.json says."""
    tuning: Tuning
    """`full`: train every weight; `lora`: an adapter and a classifier's last layers; `head`: those layers alone."""
    lora: LoraSettings
    """The settings of the adapter where `tuning` is `lora`."""
    config: dict[str, Any]
    """Entries that replace those of the checkpoint's config.json, by name: a dropout rate, for example."""
    implementation: Implementation = Implementation.auto
    """`auto`: our own decoder for a causal base in Llama's shape, since it is faster and as exact, else the library
    `transformers`; `transformers`: always that."""
