"""Limits on how long a document is."""

from __future__ import annotations

from pydantic import PositiveInt

from langmill.config.constraints import require
from langmill.config.typed import settings
from langmill.data.cleaning.base import CLEANING_STEPS, CleaningStep, Draft, Dropped


@settings
class LengthOptions:
    """The limits."""

    min_characters: PositiveInt
    """Drop documents whose text is shorter than this, in characters."""
    max_characters: PositiveInt
    """Drop documents whose text is longer than this, in characters."""

    def __post_init__(self) -> None:
        require(
            self.max_characters >= self.min_characters,
            "max_characters",
            self.max_characters,
            f"min_characters ({self.min_characters}) or more",
        )


@CLEANING_STEPS.register("length")
class Length(CleaningStep):
    """Drop what is too short or too long; the target has no limits."""

    options_class = LengthOptions
    options: LengthOptions

    def clean(self, document: Draft) -> Draft | Dropped:
        """The document as it is, if its text's length is within the limits."""
        characters = len(document.text)
        if characters < self.options.min_characters:
            return Dropped("too_short", characters)
        return Dropped("too_long", characters) if characters > self.options.max_characters else document
