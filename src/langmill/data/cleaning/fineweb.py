"""Lists and menus, by FineWeb's rules on lines (Penedo et al., 2024, https://arxiv.org/abs/2406.17557, section 3.5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from typing import Annotated

from pydantic import Field

from langmill.config.typed import settings
from langmill.data.cleaning.base import CLEANING_STEPS, Dropped
from langmill.data.cleaning.gopher_repetition import duplicates
from langmill.data.cleaning.languages import LETTERS_PER_WORD, ByLanguage, check_languages
from langmill.data.cleaning.words import split_words

Limit = Annotated[float, Field(ge=0, le=1)] | None
# Unicode's property Sentence_Terminal as far as its scripts are in use, ellipses, and what may stand behind an end.
TERMINAL_PUNCTUATION = tuple(
    ".!?\"'\u2026\u201d\u2019\u00bb\u203a)\u061d\u061f\u06d4\u0964\u0965\u0589\u1362\u1367\u1368\u104a\u104b\u17d4\u17d5"
    "\u3002\uff01\uff0e\uff1f\uff61\u300d\u300f\uff09"
)


@settings
class FinewebOptions:
    """Bounds outside of which a document is dropped; null leaves a rule out."""

    min_ended_lines: Limit = 0.12
    """Share of the lines that end with punctuation."""
    max_short_lines: Limit = 0.67
    """Share of the lines of `short_line` characters or fewer."""
    short_line: Annotated[int, Field(gt=0)] = 30
    """Characters up to which a line is short."""
    max_duplicate_characters: Limit = 0.1
    """Share of the characters in lines that stood before. It is the paper's; datatrove's default is 0.01."""
    max_new_lines_per_word: Annotated[float, Field(ge=0)] | None = 0.3
    """Ends of lines for each word; not in the paper, but in the code that made FineWeb."""
    language: str | None = None
    """The language of all documents; null goes by each document's metadata, and takes English where it says none."""
    per_language: bool = True
    """Take FineWeb-2's thresholds for other languages than English: of each language that the step `language` can tell
    its own, of any other and of `und` the loosest of all."""
    languages: dict[str, dict[str, float | None]] = field(default_factory=dict)
    """Other thresholds for single languages: `de: {max_short_lines: 0.8}`."""

    def __post_init__(self) -> None:
        check_languages(self)


@CLEANING_STEPS.register("fineweb")
class Fineweb(ByLanguage):
    """Drop documents that are made of short, unfinished or repeated lines."""

    options_class = FinewebOptions
    options: FinewebOptions

    def rules(self, options: FinewebOptions, language: str) -> Callable[[str], Dropped | None]:
        """What gives the first rule that a text breaks."""
        letters = LETTERS_PER_WORD.get(language, 1)
        return lambda text: broken_rule(text, options, letters)


def broken_rule(text: str, bounds: FinewebOptions, letters_per_word: int = 1) -> Dropped | None:
    """The first rule that a text breaks, as a reason with what was measured; None if it breaks none."""
    lines = [line for line in text.split("\n") if line and not line.isspace()]
    if not lines:
        return None
    if bounds.min_ended_lines is not None:
        ended = sum(line.endswith(TERMINAL_PUNCTUATION) for line in lines) / len(lines)
        if ended < bounds.min_ended_lines:
            return Dropped("unended_lines", ended)
    if bounds.max_short_lines is not None:
        short = sum(len(line) <= bounds.short_line for line in lines) / len(lines)
        if short > bounds.max_short_lines:
            return Dropped("short_lines", short)
    if bounds.max_duplicate_characters is not None and len(lines) > 1:
        repeated = duplicates(lines)[1] / (len(text) - text.count("\n"))
        if repeated > bounds.max_duplicate_characters:
            return Dropped("duplicate_characters", repeated)
    new_lines = text.count("\n")
    if bounds.max_new_lines_per_word is not None and new_lines:
        words = max(1.0, len(split_words(text)) / letters_per_word)
        if new_lines / words > bounds.max_new_lines_per_word:
            return Dropped("list", new_lines / words)
    return None
