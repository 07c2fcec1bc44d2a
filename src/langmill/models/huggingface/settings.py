"""Options of the architecture `pretrained`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from langmill.config.sections import require
from langmill.models.base import Kind


class Tuning(StrEnum):
    """The weights that training updates."""

    full = "full"
    lora = "lora"


@dataclass
class LoraSettings:
    """Low-rank adaptation: to a frozen matrix W is added (alpha / rank) B A, of which A and B are learned."""

    rank: int
    """Rows of A and columns of B."""
    alpha: float
    """Scale of the product, before division by the rank."""
    dropout: float
    """Share of the input of A that is dropped in training, 0 to below 1."""
    targets: list[str]
    """The layers that are adapted, by the end of their names (`query`, `c_attn`), or `all-linear` for every one of the
    body."""

    def __post_init__(self) -> None:
        require(self.rank >= 1, "model.options.lora.rank", self.rank, "1 or more")
        require(self.alpha > 0, "model.options.lora.alpha", self.alpha, "above 0")
        require(0 <= self.dropout < 1, "model.options.lora.dropout", self.dropout, "0 to below 1")
        require(bool(self.targets), "model.options.lora.targets", self.targets, "at least one layer's name")


@dataclass
class PretrainedSettings:
    """Options of the architecture `pretrained`; everything else is the checkpoint's own."""

    kind: Kind
    """`causal` (AutoModelForCausalLM), `bidirectional` (AutoModelForSequenceClassification) or `encoder_decoder`
    (AutoModelForSeq2SeqLM)."""
    tuning: Tuning
    """`full`: train every weight; `lora`: an adapter and a classifier's last layers."""
    lora: LoraSettings
    """The settings of the adapter where `tuning` is `lora`."""
    config: dict[str, Any]
    """Entries that replace those of the checkpoint's config.json, by name: a dropout rate, for example."""
