"""ROUGE (Lin, 2004): the `rouge-score` package's F-measure, without stemming, in every script."""

from __future__ import annotations

import functools
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any, ClassVar

from langmill.scoring.metrics.base import METRICS, BestOfReferences
from langmill.scoring.words import words


class Rouge(BestOfReferences):
    """One form of ROUGE."""

    form: ClassVar[str]
    """The package's name of it."""

    @property
    def signature(self) -> str:
        """How words were found, and the package's version."""
        tokenizer = "letters and digits, characters of scripts without spaces"
        return f"tok:{tokenizer}|stemmer:no|rouge-score:{version('rouge-score')}"

    def against(self, produced: str, reference: str) -> float | None:
        """The F-measure; None for a reference without words: punctuation alone can't be found again."""
        if not words(reference):
            return None
        return float(_scorer(self.form).score(reference, produced)[self.form].fmeasure)


@METRICS.register("rouge_1")
class Rouge1(Rouge):
    """Of words."""

    title, form = "ROUGE-1", "rouge1"


@METRICS.register("rouge_2")
class Rouge2(Rouge):
    """Of pairs of words."""

    title, form = "ROUGE-2", "rouge2"


@METRICS.register("rouge_l")
class RougeL(Rouge):
    """Of the longest common subsequence."""

    title, form = "ROUGE-L", "rougeL"


@functools.cache
def _scorer(form: str) -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer([form], tokenizer=SimpleNamespace(tokenize=words))  # its own keeps a to z and 0 to 9 alone
