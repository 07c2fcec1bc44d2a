"""Texts that are no prose, by Gopher's rules (Rae et al., 2021, https://arxiv.org/abs/2112.11446, appendix A.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import field
from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveInt

from langmill.config.typed import settings
from langmill.data.cleaning.base import CLEANING_STEPS, Dropped
from langmill.data.cleaning.languages import LETTERS_PER_WORD, STOP_WORDS, ByLanguage, check_languages
from langmill.data.cleaning.words import bare, split_words

Limit = Annotated[float, Field(ge=0, le=1)] | None
Length = Annotated[float, Field(ge=0)] | None
_BULLETS = ("•", "-", "*", "‣", "◦", "●", "▪", "\u2013")
_ELLIPSES = ("...", "…")


@settings
class GopherQualityOptions:
    """Bounds outside of which a document is dropped; null leaves a rule out."""

    min_words: PositiveInt | None = 50
    """Words, those of punctuation alone not counted."""
    max_words: PositiveInt | None = 100_000
    """As `min_words`."""
    min_mean_word_length: Length = 3
    """Mean length of a word without the punctuation around it, in characters; not asked of scripts without spaces."""
    max_mean_word_length: Length = 10
    """As `min_mean_word_length`."""
    max_hashes_per_word: Limit = 0.1
    """Signs `#` for each word."""
    max_ellipses_per_word: Limit = 0.1
    """Ellipses, `...` or `…`, for each word."""
    max_bullet_lines: Limit = 0.9
    """Share of the lines that begin with a bullet."""
    max_ellipsis_lines: Limit = 0.3
    """Share of the lines that end with an ellipsis."""
    min_alphabetic_words: Limit = 0.8
    """Share of the words that have a letter."""
    min_stop_words: NonNegativeInt | None = 2
    """How many different stop words of its language there are at least; not asked where we have none of it."""
    stop_words: list[str] | None = None
    """The stop words; null takes Gopher's eight for English, for other languages those of `languages.py`."""
    language: str | None = None
    """The language of all documents; null goes by each document's metadata, and takes English where it says none."""
    per_language: bool = True
    """Take FineWeb-2's thresholds for other languages than English: of each language that the step `language` can tell
    its own, of any other and of `und` the loosest of all."""
    languages: dict[str, dict[str, float | None]] = field(default_factory=dict)
    """Other thresholds for single languages: `de: {max_mean_word_length: 14}`."""

    def __post_init__(self) -> None:
        check_languages(self)


@CLEANING_STEPS.register("gopher_quality")
class GopherQuality(ByLanguage):
    """Drop documents whose words, symbols or lines are not those of prose."""

    options_class = GopherQualityOptions
    options: GopherQualityOptions

    def rules(self, options: GopherQualityOptions, language: str) -> Callable[[str], Dropped | None]:
        """What gives the first rule that a text breaks."""
        return lambda text: next(broken_rules(text, options, language), None)


def broken_rules(text: str, bounds: GopherQualityOptions, language: str) -> Iterator[Dropped]:
    """The rules that a text breaks, each as a reason with what was measured; a rule is tried when its turn comes."""
    size = LETTERS_PER_WORD.get(language, 1)
    words = split_words(text)
    bare_words = bare(words)
    count = len(bare_words) / size
    if bounds.min_words is not None and count < bounds.min_words:
        yield Dropped("too_few_words", count)
    if bounds.max_words is not None and count > bounds.max_words:
        yield Dropped("too_many_words", count)
    if bare_words and size == 1:
        mean = sum(map(len, bare_words)) / count
        if bounds.min_mean_word_length is not None and mean < bounds.min_mean_word_length:
            yield Dropped("short_words", mean)
        if bounds.max_mean_word_length is not None and mean > bounds.max_mean_word_length:
            yield Dropped("long_words", mean)
    yield from _of_symbols(text, bounds, max(1.0, len(words) / size))
    yield from _of_lines(text.splitlines(), bounds)
    if bounds.min_alphabetic_words is not None and words:
        # Words of letters alone are the most by far, and seen at once.
        alphabetic = sum(word.isalpha() or any(map(str.isalpha, word)) for word in words) / len(words)
        if alphabetic < bounds.min_alphabetic_words:
            yield Dropped("symbols", alphabetic)
    found = _stop_words(bare_words, text, bounds, language)
    if found is not None and bounds.min_stop_words is not None and found < bounds.min_stop_words:
        yield Dropped("stop_words", found)


def _of_symbols(text: str, bounds: GopherQualityOptions, num_words: float) -> Iterator[Dropped]:
    hashes = text.count("#") / num_words
    if bounds.max_hashes_per_word is not None and hashes > bounds.max_hashes_per_word:
        yield Dropped("hashes", hashes)
    ellipses = sum(map(text.count, _ELLIPSES)) / num_words
    if bounds.max_ellipses_per_word is not None and ellipses > bounds.max_ellipses_per_word:
        yield Dropped("ellipses", ellipses)


def _of_lines(lines: list[str], bounds: GopherQualityOptions) -> Iterator[Dropped]:
    num_lines = max(1, len(lines))
    if bounds.max_bullet_lines is not None:
        bullets = sum(line.lstrip().startswith(_BULLETS) for line in lines) / num_lines
        if bullets > bounds.max_bullet_lines:
            yield Dropped("bullet_lines", bullets)
    if bounds.max_ellipsis_lines is not None:
        ended = sum(line.rstrip().endswith(_ELLIPSES) for line in lines) / num_lines
        if ended > bounds.max_ellipsis_lines:
            yield Dropped("ellipsis_lines", ended)


def _stop_words(words: list[str], text: str, bounds: GopherQualityOptions, language: str) -> int | None:
    """How many of the language's stop words stand in a text; None where it is not asked, or nobody knows them."""
    known = STOP_WORDS.get(language)
    stop_words = known if bounds.stop_words is None else frozenset(map(str.casefold, bounds.stop_words))
    if not bounds.min_stop_words or stop_words is None:
        return None
    if language in LETTERS_PER_WORD:  # no space parts words there
        return sum(word in text for word in stop_words)
    return len(stop_words.intersection(map(str.casefold, words)))
