"""A model that somebody else has trained: conf/pretrained/."""

from __future__ import annotations

from enum import StrEnum

from pydantic import PositiveInt

from langmill.config.sections.sources import CheckpointSource
from langmill.config.typed import settings


class PretrainedKind(StrEnum):
    """What a pretrained network was made for."""

    causal = "causal"
    bidirectional = "bidirectional"
    encoder_decoder = "encoder_decoder"


@settings
class Pretrained:
    """A model that somebody else has trained, to start from."""

    name: str
    """The model's name; the file's name in conf/pretrained/, and that of its tokenizer."""
    description: str
    """One sentence on what it is."""
    licence: str
    """Under which terms the weights may be used."""
    source: CheckpointSource
    kind: PretrainedKind | None = None
    """`causal` writes, `bidirectional` classifies, `encoder_decoder` turns one text into another. A recipe for another
    task is refused before anything is fetched; null: when it has been."""
    parameters: PositiveInt | None = None
    """Roughly how many weights it has; the first settings of `langmill new recipe` follow from it."""
