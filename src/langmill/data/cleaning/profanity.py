"""Texts that are made of words from a list that a corpus's owner gives."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from langmill.config.constraints import Allowed
from langmill.config.typed import settings
from langmill.data.cleaning.base import CLEANING_STEPS, CleaningStep, Draft, Dropped
from langmill.data.cleaning.words import bare, split_words


def _is_list(words: list[str]) -> bool:
    return bool(words) and all(map(str.strip, words))


Words = Annotated[list[str], Allowed("at least one word, none empty", _is_list)]


@settings
class ProfanityOptions:
    """The list, and how much of it is too much. Langmill brings no list: which words they are is the owner's choice."""

    words: Words
    """The words, or phrases of several, case aside. In scripts without spaces between words they are found inside of
    others too."""
    max_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of a document's words that may be of the list; above, it is dropped. 0 drops at the first, as C4 did."""


@CLEANING_STEPS.register("profanity")
class Profanity(CleaningStep):
    """Drop documents with too large a share of listed words, in the text or in the target."""

    options_class = ProfanityOptions
    options: ProfanityOptions

    def __init__(self, options: ProfanityOptions) -> None:
        super().__init__(options)
        phrases = sorted({tuple(_words(word)) for word in options.words} - {()})
        self._by_first: dict[str, list[tuple[str, ...]]] = {}
        for phrase in phrases:
            self._by_first.setdefault(phrase[0], []).append(phrase)

    def clean(self, document: Draft) -> Draft | Dropped:
        """The document as it is, unless it has too many of the words."""
        for text in (document.text, document.target or ""):
            if self.share(text) > self.options.max_share:
                return Dropped("profanity")
        return document

    def share(self, text: str) -> float:
        """The share of a text's words that are in the list; each place counts once, by its longest phrase."""
        words = _words(text)
        if self._by_first.keys().isdisjoint(words):
            return 0.0
        found = place = 0
        while place < len(words):
            phrases = self._by_first.get(words[place], ())
            longest = max((len(one) for one in phrases if tuple(words[place : place + len(one)]) == one), default=0)
            found += longest
            place += longest or 1
        return found / max(1, len(words))


def _words(text: str) -> list[str]:
    return bare(split_words(text.casefold()))
