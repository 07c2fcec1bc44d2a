"""What to say of a corpus that is too small to be judged by."""

from __future__ import annotations

import math

FEW_DOCUMENTS = 30
"""Test documents below which an interval says little (Efron and Tibshirani, 1993, chapter 14); conf/gate/ asks for as
many."""
_LARGEST_TEST = 0.3  # a share to propose: with more, too little is left to learn from


def too_few_to_test(
    corpus: str, test: int, documents: int, least: int = FEW_DOCUMENTS, *, estimated: bool = False
) -> str:
    """What to say of a corpus whose test split is too small for the gate, and what to do; empty if it is not.

    Args:
        corpus: Its name.
        test: Documents of the test split.
        documents: Those of all splits.
        least: What gate.rules.enough_documents.min_documents asks for.
        estimated: Whether the numbers are no counts yet.
    """
    if test >= least:
        return ""
    about, noun = "about " if estimated else "", "document" if test == 1 else "documents"
    missing = "1 is" if least - test == 1 else f"{least - test:,} are"
    share = math.ceil(130 * least / max(1, documents)) / 100  # some more than are needed, for a hash is no exact share
    larger = f", or make split.test at least {share:g} in conf/corpus/{corpus}.yaml" if share <= _LARGEST_TEST else ""
    return (
        f"The corpus {corpus} has {about}{test:,} test {noun}; gate.rules.enough_documents.min_documents asks for "
        f"{least:,}, so {about}{missing} missing, and the gate will refuse any model: add documents{larger}."
    )
