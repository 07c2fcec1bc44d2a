"""One way to write a text: Unicode NFC, no control characters, even white space."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

from langmill.config.typed import settings
from langmill.data.cleaning.base import CLEANING_STEPS, CleaningStep, Draft
from langmill.data.folding import nfc

# Cc but tab and the ends of lines; lone surrogates; soft hyphen, zero-width space, word joiner, byte-order mark;
# non-characters.
_NOT_TEXT = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u200b\u2060\ufeff\ufffe\uffff\ud800-\udfff]")
_LINE_END = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_ODD_SPACE = re.compile("[\t\xa0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_SPACES = re.compile(" {2,}")
_SPACED_LINE_END = re.compile(" ?\n ?")
_MANY_LINE_ENDS = re.compile("\n{3,}")
_OUTER_LINES = re.compile(r"\A(?:[^\S\n]*\n)+")  # before the first line with something on it


def clean_characters(text: str, *, preserve_whitespace: bool = False) -> str:
    """Write a text in the one way; doing it again changes nothing.

    Args:
        text: Any text.
        preserve_whitespace: Keep white space as it is, but for the ends of lines and empty lines around the text.
    """
    if preserve_whitespace:
        text = _NOT_TEXT.sub("", _LINE_END.sub("\n", text))
        text = _OUTER_LINES.sub("", text.rstrip())
        return nfc(text)
    if not text.replace("\n", "").isprintable():  # printable text has no control characters and no space but " "
        text = _LINE_END.sub("\n", text)
        text = _NOT_TEXT.sub("", text)
        text = _ODD_SPACE.sub(" ", text)
    if "  " in text:
        text = _SPACES.sub(" ", text)
    if " \n" in text or "\n " in text:
        text = _SPACED_LINE_END.sub("\n", text)
    if "\n\n\n" in text:
        text = _MANY_LINE_ENDS.sub("\n\n", text)
    return nfc(text.strip(" \n"))


@settings
class CharactersOptions:
    """What of the characters stays."""

    preserve_whitespace: bool
    """Keep tabs, runs of spaces, indentation and blank lines, as code needs them; line ends, Unicode form and control
    characters are evened out all the same."""


@CLEANING_STEPS.register("characters")
class Characters(CleaningStep):
    """Even out how text and target are written."""

    options_class = CharactersOptions

    def __init__(self, options: CharactersOptions) -> None:
        super().__init__(options)
        preserving = functools.partial(clean_characters, preserve_whitespace=True)
        self._rewrite: Callable[[str], str] = preserving if options.preserve_whitespace else clean_characters

    def clean(self, document: Draft) -> Draft:
        """The document with one form for what reads alike."""
        return document.rewritten(self._rewrite)
