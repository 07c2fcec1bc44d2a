"""Text that was decoded in the wrong encoding, put right.

It stands before the step `characters`, which takes control characters out: an apostrophe that was read as U+0092 could
not be repaired after that.
"""

from __future__ import annotations

import functools
import itertools
import re
from typing import TYPE_CHECKING

from langmill.config.typed import settings
from langmill.data.cleaning.base import CLEANING_STEPS, CleaningStep, Draft

if TYPE_CHECKING:
    import ftfy

# ftfy's heuristic looks at pairs and triples of characters. Each of its patterns needs one of these, alone if it is a
# C1 control, else beside another character that is not ASCII or before certain ones: signs of currency, law, numbers
# and boxes, accented letters. They are its categories but the letters of whole alphabets, quotation marks and dashes,
# which are sound beside each other but in `_QUOTED`. Where none is found, ftfy is not asked, which is slow; a test
# compares.
_SUSPICIOUS = re.compile(
    "[\x80-\x9f\xa2-\xac\xae-\xb3\xb5-\xb6\xb8-\xba\xbc-\xd1\xd8-\xd9\xdf-\xf1\xd7\xf7\xdc-\xde\xfc-\xff\u0100-"
    "\u024f\u02b0-\u02ff\u0402\u045e\u0490\u0491\u20ac\u20a7\u2020\u2021\u2030\u2044\u2202\u2206\u220f\u2211"
    "\u221a\u221e\u2229\u222b\u2248\u2260\u2261\u2264\u2265\u2116\u2122\u2310\u25ca\u2502-\u259f\ufb01\ufb02"
    "\ufffd]"
)
_QUOTED = re.compile(
    "[\u0412\u0413\u0420\u0421\u0392\u0393\u039e\u039f]"
    "[\xb0\xb7\xa1\xab\xbf\xa9\u0384\u0385"
    "\u2018\u201a\u201c\u201e\u2022\u2039\uf8ff\xae\xbb\u02dd\u201d\u203a\u2122]"
    "[\u0412\u0413\u0420\u0421\u0392\u0393\u039e\u039f]"
)
_AROUND = 6  # characters on each side that ftfy's patterns look at
_LONG_RUN = re.compile(f"[ -~]{{{5 * _AROUND},}}")
_HELD = "\x01"  # stands for what is held back of such a run; every encoding has it
_LONGEST_LINE = 1_000_000  # what ftfy looks at in one go
_ELSE = re.compile("\x1b\\[|[\ud800-\udbff][\udc00-\udfff]")  # terminal escapes, surrogates that are a pair
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")


@settings
class RepairOptions:
    """What else than the encoding is put right."""

    straight_quotes: bool = False
    """Make curly quotation marks and apostrophes straight."""
    latin_ligatures: bool = False
    """Take the ligatures of typesetting apart (`ﬁ` is `fi`), as texts out of PDF files need it."""
    character_width: bool = False
    """Give full-width Latin letters and half-width Katakana their usual width."""


@CLEANING_STEPS.register("repair")
class Repair(CleaningStep):
    """Undo wrong decoding by ftfy (Speer, 2019, https://ftfy.readthedocs.io), and take terminal escapes out."""

    options_class = RepairOptions
    options: RepairOptions

    def __init__(self, options: RepairOptions) -> None:
        super().__init__(options)
        import ftfy
        from ftfy.badness import BADNESS_RE

        self._is_bad = BADNESS_RE.search
        # All of them said here, so that another version's defaults change nothing. What is off is the work of other
        # steps: mark-up, ends of lines, control characters and NFC.
        self._config = ftfy.TextFixerConfig(
            unescape_html=False,
            remove_terminal_escapes=True,
            fix_encoding=True,
            restore_byte_a0=True,
            replace_lossy_sequences=True,
            decode_inconsistent_utf8=True,
            fix_c1_controls=True,
            fix_latin_ligatures=options.latin_ligatures,
            fix_character_width=options.character_width,
            uncurl_quotes=options.straight_quotes,
            fix_line_breaks=False,
            fix_surrogates=False,
            remove_control_chars=False,
            normalization=None,
            max_decode_length=_LONGEST_LINE,
            explain=False,
        )
        self._more = options.straight_quotes or options.latin_ligatures or options.character_width

    def clean(self, document: Draft) -> Draft:
        """The document with its characters as they were meant."""
        return document.rewritten(self.repaired)

    def repaired(self, text: str) -> str:
        """The text as ftfy repairs it, line by line; most texts are seen to be sound without asking it."""
        if text.isascii():
            return _fixed(text, self._config) if "\x1b[" in text else text
        if _ELSE.search(text):
            text = _PAIR.sub(_joined, text)
        elif not self._more and not self.suspicious(text):
            return text
        return _fixed(text, self._config)

    def suspicious(self, text: str) -> bool:
        """Whether ftfy's heuristic may see mojibake in a text; looks only around characters that it needs for that."""
        if _QUOTED.search(text):
            return True
        looked = 0
        for found in _SUSPICIOUS.finditer(text):
            place = found.start()
            if place < looked or not _needs_a_look(text, place):
                continue
            start = max(0, place - _AROUND)
            start = max(start, text.rfind("\n", start, place) + 1)  # ftfy looks at each line by itself
            looked = place + 4 * _AROUND
            line_end = text.find("\n", place, looked)
            end = looked + _AROUND
            if line_end >= 0:
                looked = end = line_end
            if self._is_bad(text[start:end]):
                return True
        return False


def _needs_a_look(text: str, place: int) -> bool:
    """Whether a suspicious character stands where it can be mojibake: most accented letters stand in sound words."""
    sign, before, after = text[place], text[place - 1 : place], text[place + 1 : place + 2]
    if sign < "\xa0" or before > "\x7f" or after > "\x7f":
        return True
    if sign in "\xc2\xc3":
        return after == " "
    return sign in "\u0152\u0153" and not (after.isascii() and after.isalpha())


def _fixed(text: str, config: ftfy.TextFixerConfig) -> str:
    """What ftfy makes of a text; it is not shown the middle of long runs of ASCII, which it reads slowly and keeps.

    What it does hangs on single characters, on what stands beside those that are not ASCII, and on which encodings
    have all of a line, which all have ASCII. Only a terminal's escape can be long, and ASCII throughout.
    """
    import ftfy

    if _HELD in text or "\x1b" in text or len(text) > _LONGEST_LINE:
        return ftfy.fix_text(text, config)
    held: list[str] = []

    def shortened(run: re.Match[str]) -> str:
        signs = run[0]
        held.append(signs[2 * _AROUND : -2 * _AROUND])
        return f"{signs[: 2 * _AROUND]}{_HELD}{signs[-2 * _AROUND :]}"

    parts = ftfy.fix_text(_LONG_RUN.sub(shortened, text), config).split(_HELD)
    return "".join(itertools.chain.from_iterable(zip(parts, [*held, ""], strict=True)))


@functools.cache
def _character(pair: str) -> str:
    return pair.encode("utf-16", "surrogatepass").decode("utf-16")


def _joined(pair: re.Match[str]) -> str:
    return _character(pair[0])
