"""Pairs that are no translation of each other: by their lengths, languages, numbers and placeholders."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveInt

from langmill.config.constraints import require
from langmill.config.typed import settings
from langmill.data.cleaning.base import CLEANING_STEPS, CleaningStep, Draft, Dropped
from langmill.data.cleaning.identification import KNOWN, Identifier
from langmill.data.cleaning.language import has_letters, sample
from langmill.data.cleaning.languages import UNDETERMINED
from langmill.data.folding import fold

# printf's (`%s`, `%1$d`, `%(name)s`, `%-5.2f`), Python's, ICU's and mustache's (`{}`, `{name}`, `{{name}}`), and the
# shell's (`${name}`). No sign of a percentage: a digit before it, or a space behind it, makes it one.
_PLACEHOLDER = re.compile(
    r"(?<![0-9%])%(?:\([A-Za-z_]\w*\)|[0-9]{1,2}\$)?[-+#]?[0-9]{0,3}(?:\.[0-9]{1,3})?(?:hh|h|ll|l|z)?[sdiufFeEgGxXc](?![A-Za-z])"
    r"|\$?\{{1,2}[A-Za-z0-9_.]{0,64}\}{1,2}"
)
_DIGIT = re.compile(r"\d")
_SAMPLE = 600  # characters whose language is told


@settings
class ParallelOptions:
    """Which pairs are dropped; null leaves a rule out. The rules are OpusFilter's (Aulamo et al., 2020)."""

    max_length_ratio: Annotated[float, Field(gt=1)] | None = 3.0
    """How many times as long as the shorter text the longer one may be, in characters; OpusFilter's default."""
    length_allowance: NonNegativeInt = 20
    """Characters that are added to both before: of short texts the ratio says little (`OK`, `Einverstanden`)."""
    drop_copies: bool = True
    """Drop pairs whose target reads like the text, case and white space aside."""
    source_language: str | None = None
    """The texts' language, ISO 639-1; a text that is surely in another one is dropped. null does not look."""
    target_language: str | None = None
    """The same for targets."""
    min_language_score: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Probability from which on another language is sure."""
    min_language_bytes: PositiveInt = 40
    """UTF-8 bytes of letters from which on a text's language is looked at."""
    same_placeholders: bool = True
    """Drop pairs in which placeholders (`%s`, `{name}`) are not the same on both sides, in any order."""
    min_number_match: Annotated[float, Field(ge=0, le=1)] | None = 0.5
    """Share of the digits but zeros that the two have in common, in any order; OpusFilter's default."""

    def __post_init__(self) -> None:
        for name, code in (("source_language", self.source_language), ("target_language", self.target_language)):
            require(code is None or code in KNOWN, name, code, f"null or one of {' '.join(sorted(KNOWN))}")


@CLEANING_STEPS.register("parallel")
class Parallel(CleaningStep):
    """Drop pairs of which one can't be the translation of the other."""

    options_class = ParallelOptions
    options: ParallelOptions
    needs_target = True

    def __init__(self, options: ParallelOptions) -> None:
        super().__init__(options)
        asked = options.source_language is not None or options.target_language is not None
        self._identifier = Identifier() if asked else None

    def clean(self, document: Draft) -> Draft | Dropped:
        """The pair as it is, or why it is dropped; a document without a target is none."""
        return self.clean_batch([document])[0]

    def clean_batch(self, documents: Sequence[Draft]) -> list[Draft | Dropped]:
        """What `clean` makes of each; languages are told for all at once."""
        options = self.options
        losses: dict[int, Dropped] = {}
        pairs: list[int] = []
        for place, (text, target, *_) in enumerate(documents):
            if target is None or not target.strip():
                continue
            reason = self.reason(text, target)
            if reason is None:
                pairs.append(place)
            else:
                losses[place] = Dropped(reason)
        sides = (
            ("other_source_language", options.source_language, [documents[place].text for place in pairs]),
            ("other_target_language", options.target_language, [documents[place].target or "" for place in pairs]),
        )
        for name, language, texts in sides:
            if language is not None:
                for at, (found, score) in self._others(texts, language).items():
                    losses.setdefault(pairs[at], Dropped(name, score, found))
        return [losses.get(place, document) for place, document in enumerate(documents)]

    def reason(self, text: str, target: str) -> str | None:
        """Why a pair is no translation, its languages aside; None if nothing speaks against it."""
        options, reason = self.options, None
        if options.drop_copies and fold(target) == fold(text):
            reason = "copy"
        elif options.max_length_ratio is not None and self._ratio(text, target) > options.max_length_ratio:
            reason = "length_ratio"
        elif options.same_placeholders and placeholders(text) != placeholders(target):
            reason = "placeholders_differ"
        elif options.min_number_match is not None and number_match(text, target) < options.min_number_match:
            reason = "numbers_differ"
        return reason

    def _ratio(self, text: str, target: str) -> float:
        shorter, longer = sorted((len(text), len(target)))
        return (longer + self.options.length_allowance) / (shorter + self.options.length_allowance)

    def _others(self, texts: Sequence[str], language: str) -> dict[int, tuple[str, float]]:
        """The texts that are surely in another language, by their places, each with that language's probability."""
        assert self._identifier is not None
        options = self.options
        long = [place for place, text in enumerate(texts) if has_letters(text, options.min_language_bytes)]
        told = self._identifier([sample(texts[place], _SAMPLE) for place in long])
        return {
            place: (found, score)
            for place, (found, score) in zip(long, told, strict=True)
            if found not in (language, UNDETERMINED) and score >= options.min_language_score
        }


def placeholders(text: str) -> Counter[str]:
    """The placeholders of a text, with how often each stands there; a pair of braces without a name is one, too."""
    if "%" not in text and "{" not in text:
        return Counter()
    return Counter(_PLACEHOLDER.findall(text))


def number_match(text: str, target: str) -> float:
    """The share of two texts' digits that they have in common, each digit as often as it stands in both; 1 for none.

    Zeros don't count: `1,000` is `1 thousand`.
    """
    one, other = _digits(text), _digits(target)
    total = one.total() + other.total()
    return 2 * (one & other).total() / total if total else 1.0


def _digits(text: str) -> Counter[int]:
    return Counter(digit for sign in _DIGIT.findall(text) if (digit := unicodedata.digit(sign)))
