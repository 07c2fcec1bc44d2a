"""Texts that repeat themselves, by Gopher's rules (Rae et al., 2021, https://arxiv.org/abs/2112.11446, table A1)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Annotated, Any

from pydantic import Field

from langmill.config.typed import settings
from langmill.data.cleaning.base import CLEANING_STEPS, Dropped
from langmill.data.cleaning.languages import LETTERS_PER_WORD, ByLanguage, check_languages
from langmill.data.cleaning.words import split_words

Limit = Annotated[float, Field(ge=0, le=1)] | None
_PARAGRAPH_END = re.compile(r"\n{2,}")
_LINE_END = re.compile(r"\n+")
_TOP, _DUPLICATE = range(2, 5), range(5, 11)


@settings
class GopherRepetitionOptions:
    """Shares above which a document is dropped, of table A1; null leaves a rule out."""

    max_duplicate_lines: Limit = 0.30
    """Lines that stood before."""
    max_duplicate_paragraphs: Limit = 0.30
    """Paragraphs (parted by empty lines) that stood before."""
    max_duplicate_line_characters: Limit = 0.20
    """Characters in lines that stood before."""
    max_duplicate_paragraph_characters: Limit = 0.20
    """Characters in paragraphs that stood before."""
    max_top_2_gram: Limit = 0.20
    """Characters in the most frequent pair of words."""
    max_top_3_gram: Limit = 0.18
    """Characters in the most frequent three words in a row."""
    max_top_4_gram: Limit = 0.16
    """Characters in the most frequent four words in a row."""
    max_duplicate_5_grams: Limit = 0.15
    """Characters in five words in a row that stood before, none of them counted twice."""
    max_duplicate_6_grams: Limit = 0.14
    """The same of six."""
    max_duplicate_7_grams: Limit = 0.13
    """The same of seven."""
    max_duplicate_8_grams: Limit = 0.12
    """The same of eight."""
    max_duplicate_9_grams: Limit = 0.11
    """The same of nine."""
    max_duplicate_10_grams: Limit = 0.10
    """The same of ten."""
    language: str | None = None
    """The language of all documents; null goes by each document's metadata, and takes English where it says none."""
    per_language: bool = True
    """Take FineWeb-2's thresholds for other languages than English: of each language that the step `language` can tell
    its own, of any other and of `und` the loosest of all."""
    languages: dict[str, dict[str, float | None]] = field(default_factory=dict)
    """Other thresholds for single languages: `de: {max_duplicate_lines: 0.4}`."""

    def __post_init__(self) -> None:
        check_languages(self)


@CLEANING_STEPS.register("gopher_repetition")
class GopherRepetition(ByLanguage):
    """Drop documents in which lines, paragraphs or sequences of words come again and again.

    Where the paper leaves room it is read as datatrove reads it: an n-gram's first occurrence is no duplicate, and
    shares are of all characters, white space included.
    """

    options_class = GopherRepetitionOptions
    options: GopherRepetitionOptions

    def rules(self, options: GopherRepetitionOptions, language: str) -> Callable[[str], Dropped | None]:
        """What gives the first rule that a text breaks."""
        return _Limits(options, language).exceeded_by


class _Limits:
    """The thresholds for documents of one language."""

    def __init__(self, options: GopherRepetitionOptions, language: str) -> None:
        self._pieces = (
            ("paragraph", _PARAGRAPH_END, options.max_duplicate_paragraphs, options.max_duplicate_paragraph_characters),
            ("line", _LINE_END, options.max_duplicate_lines, options.max_duplicate_line_characters),
        )
        told: Any = options
        size = LETTERS_PER_WORD.get(language, 1)
        self._top = _limits((n, n * size, getattr(told, f"max_top_{n}_gram")) for n in _TOP)
        self._duplicate = _limits((n, n * size, getattr(told, f"max_duplicate_{n}_grams")) for n in _DUPLICATE)

    def exceeded_by(self, text: str) -> Dropped | None:
        """The first rule that a text breaks, as a reason with the share that was measured."""
        lined = text.strip("\n")
        for name, end, most, most_characters in self._pieces if "\n" in lined else ():
            pieces = end.split(lined)
            if len(set(pieces)) == len(pieces):
                continue
            count, characters = duplicates(pieces)
            if most is not None and count / len(pieces) > most:
                return Dropped(f"duplicate_{name}s", count / len(pieces))
            if most_characters is not None and characters / len(text) > most_characters:
                return Dropped(f"duplicate_{name}_characters", characters / len(text))
        words = split_words(text)
        repeated = True  # whether any n-gram is there twice; where none of three words is, none of four is
        for n, length, limit in self._top:
            characters, repeated = top_characters(words, length, repeated=repeated)
            if characters / len(text) > limit:
                return Dropped(f"top_{n}_gram", characters / len(text))
        for n, length, limit in self._duplicate:
            repeated = repeated and has_duplicates(words, length)
            share = duplicate_characters(words, length) / len(text) if repeated else 0.0
            if share > limit:
                return Dropped(f"duplicate_{n}_grams", share)
        return None


def _limits(rules: Any) -> list[tuple[int, int, float]]:
    return [(n, length, limit) for n, length, limit in rules if limit is not None]


def duplicates(pieces: Sequence[str]) -> tuple[int, int]:
    """How many pieces stood before, and their characters."""
    seen: set[str] = set()
    count = characters = 0
    for piece in pieces:
        if piece in seen:
            count += 1
            characters += len(piece)
        else:
            seen.add(piece)
    return count, characters


def top_characters(words: Sequence[str], length: int, *, repeated: bool = True) -> tuple[int, bool]:
    """Characters in the most frequent n-gram, with the spaces in it, times how often it stands there.

    Of several that are as frequent, the first counts.

    Args:
        words: The words.
        length: Words of an n-gram.
        repeated: False if each n-gram is known to stand there once.

    Returns:
        The characters, and whether any n-gram stands there twice.
    """
    if len(words) < length:
        return 0, False
    top, times = tuple(words[:length]), 1
    if repeated:
        grams = Counter(zip(*(words[start:] for start in range(length)), strict=False))
        times = max(grams.values())
        top = next(gram for gram, count in grams.items() if count == times)
    return (sum(map(len, top)) + length - 1) * times, times > 1


def duplicate_characters(words: Sequence[str], length: int) -> int:
    """Characters in n-grams that stood before, spaces left out; after one, the next begins behind it."""
    seen: set[tuple[str, ...]] = set()
    grams = list(zip(*(words[start:] for start in range(length)), strict=False))
    characters = place = 0
    while place < len(grams):
        gram = grams[place]
        if gram in seen:
            characters += sum(map(len, gram))
            place += length
        else:
            seen.add(gram)
            place += 1
    return characters


def has_duplicates(words: Sequence[str], length: int) -> bool:
    """Whether an n-gram stands there twice."""
    grams = list(zip(*(words[start:] for start in range(length)), strict=False))
    return len(set(grams)) < len(grams)
