"""One way to write a text: Unicode NFC, no control characters, even white space."""

from __future__ import annotations

import functools
import re

from langmill.config.typed import settings
from langmill.data.cleaning.base import CLEANING_STEPS, CleaningStep, Draft
from langmill.data.folding import nfc

# Cc but tab and the ends of lines; lone surrogates; soft hyphen, word joiner, byte-order mark; non-characters.
_NOT_TEXT = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u2060\ufeff\ufffe\uffff\ud800-\udfff]")
_BETWEEN = re.compile("\u200b+|[\u200c\u200d]+")
"""Zero-width spaces and joiners, which mean something beside some letters only."""
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u19e0-\u19ff\ua9e0-\ua9ff\uaa60-\uaa7f]")
"""Thai, Lao, Burmese and Khmer, where U+200B parts words."""
_JOINING = re.compile(
    "[\u0600-\u08ff\u0900-\u0dff\u0e80-\u0fff\u1000-\u109f\u1780-\u18af\u1900-\u1cff\ua800-\uaaff\uabc0-\uabff"
    "\ufb50-\ufdff\ufe70-\ufefc\U00010a00-\U00010fff\U00011000-\U00011fff\U0001e900-\U0001e95f]"
)
"""Scripts whose letters take another form beside a joiner: Arabic and its kin, those of India and beyond, Mongolian
(The Unicode Standard 16.0, chapters 9, 12 to 14, and section 23.2)."""
_EMOJI = re.compile("[\u00a9\u00ae\u203c-\u3299\ufe0f\U0001f000-\U0001faff\U000e007f]")
_MOST_JOINERS = 3  # as ZWJ ZWNJ ZWJ, the longest sequence that the standard gives a meaning
_HIDDEN = re.compile("[\u202a-\u202e\U000e0001\U000e0020-\U000e007f]")
_TAGS = re.compile(
    "(?P<flag>\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{1,6}\U000e007f)?[\U000e0001\U000e0020-\U000e007f]*"
)
"""Tag characters, after the flag of a region that is written with them (UTS 51, appendix C)."""
_BIDI = re.compile("[\u202a-\u202e\n]")
_POP, _OVERRIDES = "\u202c", "\u202d\u202e"
_BLANK = re.compile(
    "[\\s\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U0001d159\U0001d173-\U0001d17a\U000e0000-\U000e0fff]*"
)
"""What nobody sees: Default_Ignorable_Code_Point, and the blank of Braille."""
_LINE_END = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_ODD_SPACE = re.compile("[\t\xa0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_SPACES = re.compile(" {2,}")
_SPACED_LINE_END = re.compile(" ?\n ?")
_MANY_LINE_ENDS = re.compile("\n{3,}")
_OUTER_LINES = re.compile(r"\A(?:[^\S\n]*\n)+")  # before the first line with something on it


def clean_characters(text: str, *, preserve_whitespace: bool = False, removed: list[str] | None = None) -> str:
    """Write a text in the one way; doing it again changes nothing.

    Args:
        text: Any text.
        preserve_whitespace: Keep white space as it is, but for the ends of lines and empty lines around the text.
        removed: Gets the kind of what was hidden in the text and taken out, once for each time: `tag_characters`,
            `bidi_override`, `invisible_text`.
    """
    removed = [] if removed is None else removed
    if not text.isascii() and _HIDDEN.search(text):
        text = _without_hidden(text, removed)
    if preserve_whitespace:
        text = _NOT_TEXT.sub("", _LINE_END.sub("\n", text))
        text = _settled(text)
        text = _OUTER_LINES.sub("", text.rstrip())
    else:
        if not text.replace("\n", "").isprintable():  # printable text has no control characters and no space but " "
            text = _LINE_END.sub("\n", text)
            text = _NOT_TEXT.sub("", text)
            text = _settled(text)
            text = _ODD_SPACE.sub(" ", text)
        if "  " in text:
            text = _SPACES.sub(" ", text)
        if " \n" in text or "\n " in text:
            text = _SPACED_LINE_END.sub("\n", text)
        if "\n\n\n" in text:
            text = _MANY_LINE_ENDS.sub("\n\n", text)
        text = text.strip(" \n")
    if text and _BLANK.fullmatch(text):
        removed.append("invisible_text")
        return ""
    return nfc(text)


def _settled(text: str) -> str:
    """The text with the joiners that are meant, in NFC, which may move a mark between a joiner and its letter."""
    while (settled := nfc(_BETWEEN.sub(_if_meant, text))) != text:
        text = settled
    return text


def _if_meant(found: re.Match[str]) -> str:
    """A zero-width space where it parts words, joiners beside letters that they join, or nothing."""
    text, start, end = found.string, found.start(), found.end()
    before, after = text[start - 1 : start] if start else "", text[end : end + 1]
    if text[start] == "\u200b":
        return "\u200b" if _UNSPACED.match(before) and _UNSPACED.match(after) else ""
    if _JOINING.match(before) or (_JOINING.match(after) and found[0].endswith("\u200d")):
        return found[0][:_MOST_JOINERS]
    return "\u200d" if _EMOJI.match(before) and _EMOJI.match(after) and "\u200d" in found[0] else ""


def _without_hidden(text: str, removed: list[str]) -> str:
    """The text without tag characters that make no flag, and without signs that turn its direction around.

    Both write what people do not read: instructions in tags (UTR 36; "ASCII smuggling"), code in another order than it
    runs ("Trojan Source", CVE-2021-42574). Embeddings and isolates, which right-to-left text needs, stay.
    """

    def flag(found: re.Match[str]) -> str:
        kept = found["flag"] or ""
        if len(found[0]) > len(kept):
            removed.append("tag_characters")
        return kept

    text = _TAGS.sub(flag, text)
    if "\u202d" not in text and "\u202e" not in text:
        return text
    opened: list[bool] = []  # whether each that is open is an override

    def direction(found: re.Match[str]) -> str:
        if found[0] == "\n":
            opened.clear()  # none goes on after its paragraph
        elif found[0] == _POP:
            return "" if opened and opened.pop() else _POP
        else:
            opened.append(found[0] in _OVERRIDES)
            if opened[-1]:
                removed.append("bidi_override")
                return ""
        return found[0]

    return _BIDI.sub(direction, text)


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
        self._preserve = options.preserve_whitespace

    def clean(self, document: Draft) -> Draft:
        """The document with one form for what reads alike."""
        removed: list[str] = []
        rewrite = functools.partial(clean_characters, preserve_whitespace=self._preserve, removed=removed)
        after = document.rewritten(rewrite)
        return after._replace(changes=tuple(removed)) if removed else after
