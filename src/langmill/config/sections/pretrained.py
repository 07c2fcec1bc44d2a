"""A model that somebody else has trained: conf/pretrained/."""

from __future__ import annotations

from langmill.config.sections.sources import CheckpointSource
from langmill.config.typed import settings


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
