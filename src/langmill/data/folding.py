"""When two documents are the same one."""

from __future__ import annotations

import functools
import hashlib
import re
import sys
import unicodedata

from langmill.config.sections import Folding

_MARKS = 32
"""Combining marks in a row from which on they are put in order before Unicode's own normalisation."""
_TWO_IN_A_ROW = re.compile(rb"[^\0]{2}")


def nfc(text: str) -> str:
    """The text in Unicode's form NFC, in time that grows with its length.

    `unicodedata.normalize` sorts the marks on a letter by insertion, so that a letter with 40,000 of them takes
    seconds and one with a million hours. A long run of marks is sorted here first.
    """
    if text.isascii():
        return text
    # A run of twice `_MARKS` covers two neighbours of this sample.
    if len(text) > 2 * _MARKS and _TWO_IN_A_ROW.search(bytes(map(unicodedata.combining, text[::_MARKS]))):
        text = _marks().sub(_in_order, text)
    return unicodedata.normalize("NFC", text)


@functools.cache
def _marks() -> re.Pattern[str]:
    marks = "".join(filter(unicodedata.combining, map(chr, range(sys.maxunicode + 1))))
    return re.compile(f"[{marks}]{{{_MARKS},}}")


def _in_order(run: re.Match[str]) -> str:
    """Marks decomposed and in canonical order, which is stable."""
    apart = (mark for sign in run[0] for mark in unicodedata.normalize("NFD", sign))
    return "".join(sorted(apart, key=unicodedata.combining))


def fold(text: str) -> str:
    """The text with case, white space and Unicode form evened out: documents are alike when this is equal."""
    folded = text.casefold()
    lined = folded.replace("\n\n", " ").replace("\n", " ")
    # Most clean texts are through here: what is printable has no white space but the space.
    folded = lined.strip(" ") if lined.isprintable() and "  " not in lined else " ".join(folded.split())
    return nfc(folded)


def fold_code(text: str) -> str:
    """The text with Unicode form, line ends and white space at the end of lines evened out; case and layout stay."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return nfc("\n".join(map(str.rstrip, text.split("\n"))).strip("\n"))


def key_of(text: str, folding: Folding = Folding.text) -> bytes:
    """The SHA-256 of the folded text: equal for documents that are alike, and for no others.

    Args:
        text: The text.
        folding: What makes no difference: the corpus's setting `cleaning.fold` for its texts and targets; a field of
            its metadata is a text.
    """
    folded = fold(text) if folding is Folding.text else fold_code(text)
    return hashlib.sha256(folded.encode()).digest()


def pair_key_of(text_key: bytes, target_key: bytes) -> bytes:
    """One key for a text and its target, from the key of each."""
    return hashlib.sha256(text_key + target_key).digest()
