"""Texts as streams of hashed words, and the n-grams of them: what near duplicates and leakage are found by.

A word is a run of letters, marks and digits. In scripts that put no spaces between words (Chinese, Japanese, Thai, ...)
every letter is a word of its own, so that n-grams of words are n-grams of characters there. In code every sign that is
no white space is a word too, and case counts.

A word is kept as 32 bits of a hash: two words of one pair of documents are taken for one by a chance of 2^-32. All
arithmetic is on unsigned integers, which wrap alike everywhere, with constants that stand here: the same text gives the
same numbers on every machine.
"""

from __future__ import annotations

import functools
import sys
import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from langmill.config.sections import Folding

Words = npt.NDArray[np.uint32]
"""Hashed words, one after the other: (words,)."""
Hashes = npt.NDArray[np.uint64]
Offsets = npt.NDArray[np.int64]

_PIECE = 2**18
"""Characters that are looked at in one go, which bounds the memory; a word across such a bound counts as two."""
_SEPARATOR, _PART, _ALONE = 0, 1, 2
# Scripts without spaces between words: the first and the last of their letters in Unicode's blocks.
_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x2FDF),  # radicals
    (0x3005, 0x3007),
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),  # Han
    (0xA9E0, 0xA9FF),  # Myanmar
    (0xAA60, 0xAA7F),
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9F),  # half-width Katakana
    (0x1AFF0, 0x1B16F),  # Kana
    (0x20000, 0x3FFFF),  # Han
)
_MIX = np.uint64(
    0xD6E8FEB86659FD93
)  # https://mostlymangling.blogspot.com/2018/07/on-mixing-functions-in-fast-splittable.html
_HALF = np.uint64(32)
_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64


def mixed(values: Hashes) -> Hashes:
    """Each number with its bits mixed, one to one."""
    values = values ^ (values >> _HALF)
    for _ in range(2):
        values *= _MIX
        values ^= values >> _HALF
    return values


def distinct(values: Hashes) -> Hashes:
    """The numbers sorted, each once: several times as fast as `numpy.unique`, which puts them into a hash table."""
    values = np.sort(values)
    return values[_first_of_equal(values)]


def distinct_counts(values: Hashes) -> tuple[Hashes, Offsets]:
    """The numbers sorted, each once, and how often each was there."""
    values = np.sort(values)
    starts = np.flatnonzero(_first_of_equal(values))
    return values[starts], np.diff(starts, append=len(values))


def _first_of_equal(values: Hashes) -> npt.NDArray[np.bool_]:
    first = np.ones(len(values), bool)
    np.not_equal(values[1:], values[:-1], out=first[1:])
    return first


def constants(seed: int, count: int) -> Hashes:
    """Odd numbers that look random: the SplitMix of a seed."""
    steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_BASE) + np.uint64(seed)
    return mixed(steps) | np.uint64(1)


def words_of(texts: Sequence[str], folding: Folding) -> tuple[Words, Offsets]:
    """The words of several texts.

    Args:
        texts: The texts.
        folding: `text` folds case and has no punctuation; `code` keeps both.

    Returns:
        The words of all texts, and where those of each end: (words,) and (texts,).
    """
    found: list[Words] = []
    ends = np.empty(len(texts), np.int64)
    done = place = 0
    for first, last, piece, bounds in _pieces(texts, folding):
        words, starts = _words(piece, folding)
        found.append(words)
        ends[first:last] = done + np.searchsorted(starts, bounds)
        done += len(words)
        place = last
    ends[place:] = done
    return (np.concatenate(found) if found else np.empty(0, np.uint32)), ends


def _pieces(texts: Sequence[str], folding: Folding) -> Iterator[tuple[int, int, str, Offsets]]:
    """Texts joined to pieces of a bounded size; which of them end in each, and where."""
    held: list[str] = []
    bounds: list[int] = []
    first = size = 0
    for number, text in enumerate(texts):
        folded = text.casefold() if folding is Folding.text else text
        for begin in range(0, max(1, len(folded)), _PIECE):
            part = folded[begin : begin + _PIECE]
            if size and size + len(part) > _PIECE:
                yield first, number, "".join(held), np.array(bounds, np.int64)
                held, bounds, first, size = [], [], number, 0
            held += [part, "\n"]
            size += len(part) + 1
        bounds.append(size)
    if held:
        yield first, len(texts), "".join(held), np.array(bounds, np.int64)


def _words(text: str, folding: Folding) -> tuple[Words, Offsets]:
    """The words of one text and where each begins."""
    if text.isascii():
        signs: npt.NDArray[np.unsignedinteger] = np.frombuffer(text.encode(), np.uint8)
    else:
        signs = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    kinds = _kinds(folding)[signs]
    parts = kinds == _PART
    begins = kinds == _ALONE
    begins[:1] |= parts[:1]
    begins[1:] |= parts[1:] & ~parts[:-1]
    starts = np.flatnonzero(begins)
    if not len(starts):
        return np.empty(0, np.uint32), starts
    powers, inverse = _powers()
    values = _sign_values()[signs & np.uint32(_SIGNS - 1)] if len(signs) else np.empty(0, np.uint64)
    values *= powers[: len(signs)]  # the polynomial of each word, times the power of its place in the text
    values[kinds == _SEPARATOR] = 0
    hashes = np.add.reduceat(values, starts) * inverse[starts]
    return (mixed(hashes) >> _HALF).astype(np.uint32), starts


_SIGNS = 2**21  # more than there are code points


@functools.cache
def _sign_values() -> Hashes:
    return constants(1, _SIGNS)


@functools.cache
def _powers() -> tuple[Hashes, Hashes]:
    powers = np.ones((2, 2 * _PIECE + 2), np.uint64)
    powers[0, 1:], powers[1, 1:] = _BASE, pow(_BASE, -1, 2**64)
    first, second = np.cumprod(powers, axis=1, dtype=np.uint64)
    return first, second


@functools.cache
def _kinds(folding: Folding) -> npt.NDArray[np.uint8]:
    """What each code point is to a word."""
    kinds = np.zeros(sys.maxunicode + 1, np.uint8)
    for point in range(0x20000):  # what follows is Han, and signs that no text has
        category = unicodedata.category(chr(point))
        if category[0] in "LMN":
            kinds[point] = _PART
        elif folding is Folding.code and category[0] in "PS":
            kinds[point] = _ALONE
    for first, last in _UNSPACED:
        block = kinds[first : last + 1]
        block[(block == _PART) | (first >= 0x20000)] = _ALONE
    if folding is Folding.code:
        kinds[ord("_")] = _PART
    return kinds


@functools.cache
def _factors(size: int) -> Hashes:
    return constants(2, size)


def ngrams(words: Words, size: int) -> Hashes:
    """The hash of each run of `size` words, in their order: (words - size + 1,), none of a shorter text."""
    count = len(words) - size + 1
    if count <= 0:
        return np.empty(0, np.uint64)
    wide = words.astype(np.uint64)
    total = wide[:count] * _factors(size)[0]
    for place in range(1, size):
        total += wide[place : place + count] * _factors(size)[place]
    return mixed(total)


def ngrams_of_each(words: Words, ends: Offsets, size: int) -> tuple[Hashes, npt.NDArray[np.int64]]:
    """The n-grams of several texts, none of which reaches from one into the next.

    Args:
        words: Their words: (words,).
        ends: Where the words of each text end: (texts,).
        size: Words of an n-gram.

    Returns:
        The hashes of all, text by text, and which text each is of.
    """
    lengths = np.diff(ends, prepend=0)
    texts = np.repeat(np.arange(len(ends)), lengths)
    grams = ngrams(words, size)
    whole = texts[: len(grams)] == texts[len(texts) - len(grams) :]
    return grams[whole], texts[: len(grams)][whole]
