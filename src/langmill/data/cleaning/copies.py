"""Pairs that say the same twice: what a translator left as it was."""

from __future__ import annotations

from langmill.data.cleaning.base import CLEANING_STEPS, CleaningStep, Draft, Dropped
from langmill.data.folding import fold


@CLEANING_STEPS.register("copies")
class Copies(CleaningStep):
    """Drop documents whose target reads like their text."""

    needs_target = True

    def clean(self, document: Draft) -> Draft | Dropped:
        """The document as it is, unless its target is a copy of its text, case and white space aside."""
        if document.target is not None and fold(document.target) == fold(document.text):
            return Dropped("copy")
        return document
