"""The words of a text, in any script."""

from __future__ import annotations

import re
from collections.abc import Iterable

_UNSPACED = (
    "\u0e01-\u0e30\u0e32\u0e33\u0e40-\u0e46\u0e81-\u0eb0\u0eb2\u0eb3\u0ec0-\u0edf"  # Thai, Lao
    "\u1000-\u102a\u103f\u1050-\u1055\u1780-\u17b3"  # Burmese, Khmer
    "\u3041-\u3096\u30a1-\u30fa\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"  # Kana, Han
)
_MARKS = (
    "\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece"
    "\u102b-\u103e\u1056-\u1060\u17b4-\u17d3\u17dd\u3099\u309a\u30fc"
)
_LETTER = re.compile(f"[{_UNSPACED}]")
_PARTS = re.compile(f"[{_UNSPACED}][{_MARKS}]*|[^{_UNSPACED}]+")
PUNCTUATION = (
    "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\u00a1\u00a7\u00ab\u00b6\u00b7\u00bb\u00bf\u060c\u061b\u061f\u06d4\u0964\u0965"
    "\u2010\u2011\u2012\u2013\u2014\u2015\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u2020\u2022\u2026\u2039\u203a"
    "\u3001\u3002\u3008\u3009\u300a\u300b\u300c\u300d\u300e\u300f\uff01\uff08\uff09\uff0c\uff0e\uff1a\uff1b\uff1f"
)
"""What touches words without being part of them."""


def split_words(text: str) -> list[str]:
    """The words of a text, with the punctuation that touches them.

    They are what white space parts, but of scripts that put none between words (Chinese, Japanese, Thai, Lao, Burmese,
    Khmer) each letter with its marks is a word. Tibetan, which has none either, marks the ends of syllables, and these
    are taken for words.
    """
    if text.isascii():
        return text.split()
    words = (text.replace("\u0f0b", "\u0f0b ") if "\u0f0b" in text else text).split()
    if not _LETTER.search(text):
        return words
    return [part for word in words for part in _PARTS.findall(word)]


def bare(words: Iterable[str]) -> list[str]:
    """The words without punctuation around them; what is nothing else is left out."""
    return [stripped for word in words if (stripped := word.strip(PUNCTUATION))]
