"""What differs between two texts, word by word, and texts that a terminal can show."""

from __future__ import annotations

import difflib
import re
import unicodedata
from itertools import pairwise
from typing import NamedTuple

_TOKEN = re.compile(r"\w+|\s|[^\w\s]")
_MOST_TOKENS = 6_000  # compared between the first and the last difference; the time grows with their product
_CONTEXT = 12  # tokens that are shown beside a difference
_VISIBLE = {"\n": "\u23ce", "\t": "\u21e5", "\r": "\u240d", "\xa0": "\u237d"}
"""What stands for white space that a difference is made of."""


class Part(NamedTuple):
    """A stretch of a comparison."""

    kind: str
    """`same`, `removed`, `added`, or `skipped` for one that is the same and left out."""
    text: str


def compared(before: str, after: str) -> list[Part]:
    """What was removed and added between two texts, with a few words around it.

    Of two texts that differ over more than some thousand words, the rest is said to be skipped.
    """
    old, new = _TOKEN.findall(before), _TOKEN.findall(after)
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    end = 0
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    middle_old, middle_new = old[start : len(old) - end], new[start : len(new) - end]
    parts = [Part("same", "".join(old[:start]))]
    matcher = difflib.SequenceMatcher(None, middle_old[:_MOST_TOKENS], middle_new[:_MOST_TOKENS], autojunk=False)
    for operation, a, b, c, d in matcher.get_opcodes():
        if operation == "equal":
            parts.append(Part("same", "".join(middle_old[a:b])))
        else:
            parts += [Part("removed", "".join(middle_old[a:b])), Part("added", "".join(middle_new[c:d]))]
    if max(len(middle_old), len(middle_new)) > _MOST_TOKENS:
        parts.append(Part("skipped", ""))
    parts.append(Part("same", "".join(old[len(old) - end :])))
    return _shortened([part for part in parts if part.text or part.kind == "skipped"])


def _shortened(parts: list[Part]) -> list[Part]:
    """The parts, of what is the same only the words beside a difference."""
    shown: list[Part] = []
    neighbours = [None, *parts, None]
    for (before, part), (_, after) in zip(pairwise(neighbours[:-1]), pairwise(neighbours[1:]), strict=True):
        assert part is not None
        tokens = _TOKEN.findall(part.text) if part.kind == "same" else []
        first, last = (_CONTEXT if before else 0), (_CONTEXT if after else 0)
        if part.kind != "same" or len(tokens) <= first + last + _CONTEXT:
            shown.append(part)
            continue
        if first:
            shown.append(Part("same", "".join(tokens[:first])))
        shown.append(Part("skipped", "".join(tokens[first : len(tokens) - last])))
        if last:
            shown.append(Part("same", "".join(tokens[-last:])))
    return shown


def printable(text: str) -> str:
    """A text that no terminal takes for a command: what has no shape is written out by its number."""
    if text.replace("\n", "").isprintable():
        return text
    return "".join(
        sign
        if sign in "\n\t" or sign.isprintable() or unicodedata.category(sign) in {"Zs", "Mn"}
        else sign.encode("unicode_escape").decode()
        for sign in text
    )


def visible(text: str) -> str:
    """A removed or added stretch, its white space visible where it is nothing else."""
    if text.strip(" ") and not text.isspace():
        return printable(text)
    return "".join(_VISIBLE.get(sign, "\u00b7" if sign == " " else printable(sign)) for sign in text)


def excerpt(text: str, most: int) -> str:
    """The beginning of a text, and how much there is besides."""
    return text if len(text) <= most else f"{text[:most].rstrip()} […{len(text) - most:,} more characters]"
