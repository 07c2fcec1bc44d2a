"""How often, and how nearly, a written text is the wanted one: exact match and the overlap of words.

The forms of SQuAD are those of Rajpurkar et al. (2016), in every script.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence

from langmill.scoring.metrics.base import METRICS, BestOfReferences
from langmill.scoring.words import pieces

_PIECES = "tok:spaces, characters of scripts without them"
_SQUAD = f"{_PIECES}|punctuation:Unicode"


@METRICS.register("exact_match")
class ExactMatch(BestOfReferences):
    """Share of the texts that are the wanted one."""

    title = "Exact match"

    def against(self, produced: str, reference: str) -> float:
        """1 if the two are equal, white space at the ends left out."""
        return float(produced.strip() == reference.strip())


@METRICS.register("token_f1")
class TokenF1(BestOfReferences):
    """F1 of words."""

    title = "Token F1"
    how = _PIECES

    def against(self, produced: str, reference: str) -> float:
        """F1 of the words of both."""
        return f1(pieces(produced), pieces(reference))


@METRICS.register("squad_exact_match")
class SquadExactMatch(BestOfReferences):
    """Exact match as SQuAD's evaluation has it."""

    title = "Exact match (SQuAD's)"
    how = _SQUAD

    def against(self, produced: str, reference: str) -> float:
        """1 if the two are equal once normalised."""
        return float(normalised(produced) == normalised(reference))


@METRICS.register("squad_f1")
class SquadF1(BestOfReferences):
    """F1 of words as SQuAD's evaluation has it."""

    title = "Token F1 (SQuAD's)"
    how = _SQUAD

    def against(self, produced: str, reference: str) -> float:
        """F1 of the words of both, normalised."""
        return f1(pieces(normalised(produced)), pieces(normalised(reference)))


def normalised(answer: str) -> str:
    """An answer as SQuAD's evaluation compares it: lower case, no punctuation, no articles, single spaces.

    Punctuation of every script, where SQuAD's script knows ASCII's alone. An answer of nothing else stays as it is.
    """
    lower = unicodedata.normalize("NFC", answer.lower())
    plain = "".join(character for character in lower if not _is_punctuation(character))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", plain).split()) or lower.strip()


def _is_punctuation(character: str) -> bool:
    return character in string.punctuation or (not character.isascii() and unicodedata.category(character)[0] == "P")


def f1(produced: Sequence[str], wanted: Sequence[str]) -> float:
    """The harmonic mean of precision and recall of words; 1 if both are empty, 0 if one is."""
    if not produced or not wanted:
        return float(produced == wanted)
    common = sum((Counter(produced) & Counter(wanted)).values())
    return 2 * common / (len(produced) + len(wanted))
