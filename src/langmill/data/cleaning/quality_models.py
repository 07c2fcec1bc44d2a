"""What the step `quality` scores texts by: an n-gram model of good ones, or a classifier of good and bad ones.

Both see a text as words whose hashes stand for them: there is no vocabulary to keep, and a word that the examples lack
has a place of its own, a rare one.
"""

from __future__ import annotations

import re
import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from langmill.data.cleaning.words import PUNCTUATION, split_words
from langmill.data.ngram import fit_ngram

Ids = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]
_BITS = 20  # of a word's id: a word of the text shares it with one of a vocabulary of 50,000 in one case of twenty
_ORDER = 3  # what fits into a key of 62 bits
_END = 0
_MOST_KNOWN = 1_000_000  # words whose ids a process remembers
_DIGITS = re.compile(r"\d")
_TOKEN = re.compile(f"[^{re.escape(PUNCTUATION)}]+")
_REGULARISATION = 10.0  # C of the logistic regression, as for the baseline of classifications


class _Words(dict[str, tuple[int, ...]]):
    """The ids of what stands between spaces: of its parts between punctuation, case and digits aside."""

    def __missing__(self, word: str) -> tuple[int, ...]:
        if len(self) >= _MOST_KNOWN:
            self.clear()
        tokens = _TOKEN.findall(_DIGITS.sub("0", word.casefold()))
        ids = tuple(1 + zlib.crc32(token.encode("utf-8", "surrogatepass")) % (2**_BITS - 1) for token in tokens)
        self[word] = ids
        return ids


class QualityModel(ABC):
    """Scores texts; a text's score does not depend on the others."""

    unit: str
    """What a score is, in words."""

    def __init__(self) -> None:
        self._words = _Words()

    def __getstate__(self) -> dict[str, Any]:
        """All but the words that were met, which another process meets itself."""
        return {**vars(self), "_words": _Words()}

    def __call__(self, texts: Sequence[str]) -> Scores:
        """A score for each text, `(texts,)`, rounded, so that the last bits of a sum decide nothing."""
        return np.round(self._scores([self._ids(text) for text in texts]), 3)

    @abstractmethod
    def limit(self, good: Scores, keep: float) -> float:
        """The score that a share of the good examples reaches at least."""

    @abstractmethod
    def reaches(self, score: float, limit: float) -> bool:
        """Whether a score is as good as the limit or better."""

    @abstractmethod
    def bin(self, score: float) -> str:
        """The class of scores that the report counts it in."""

    @abstractmethod
    def _scores(self, documents: Sequence[Ids]) -> Scores: ...

    def _ids(self, text: str) -> Ids:
        words = self._words
        return np.array([part for word in split_words(text) for part in words[word]] or [_END], np.int64)


class Perplexity(QualityModel):
    """Bits that each word of a text costs a trigram model (modified Kneser-Ney) of good texts: fewer is better.

    It is the logarithm of the perplexity by which CCNet (Wenzek et al., 2020, https://arxiv.org/abs/1911.00359, 3.3)
    sorts web pages, whose model is a 5-gram of sentence pieces.

    Args:
        good: The texts.
    """

    unit = "bits per word"

    def __init__(self, good: Sequence[str]) -> None:
        super().__init__()
        self._model = fit_ngram(_stream([self._ids(text) for text in good]), 2**_BITS, _END, _ORDER)

    def limit(self, good: Scores, keep: float) -> float:
        """The score that a share of the good examples reaches at least."""
        return float(np.quantile(good, keep, method="higher"))

    def reaches(self, score: float, limit: float) -> bool:
        """Whether a score is as good as the limit or better."""
        return score <= limit

    def bin(self, score: float) -> str:
        """Whole bits."""
        return f"{int(score):02d} bits per word"

    def _scores(self, documents: Sequence[Ids]) -> Scores:
        nats = self._model.nats(_stream(documents))
        sizes = np.array([len(ids) + 1 for ids in documents])
        totals = np.add.reduceat(nats, np.concatenate(([0], np.cumsum(sizes)[:-1])))
        bits: Scores = totals / sizes / np.log(2)
        return bits


class Classifier(QualityModel):
    """The probability that a text is one of the good ones: a logistic regression over hashed words and pairs of words.

    It is the classifier of GPT-3's data (Brown et al., 2020, appendix A) and of DCLM (Li et al., 2024,
    https://arxiv.org/abs/2406.11794, 4.4), whose fastText learns the same linear model by another way.

    Args:
        good: Texts to keep.
        bad: Texts to drop; neither kind weighs more for being more.
    """

    unit = "probability"

    def __init__(self, good: Sequence[str], bad: Sequence[str]) -> None:
        from sklearn.linear_model import LogisticRegression  # a second to import

        super().__init__()
        features = _features([self._ids(text) for text in (*good, *bad)])
        common = np.flatnonzero(np.bincount(features.indices, minlength=2**_BITS) > 1)
        model = LogisticRegression(C=_REGULARISATION, class_weight="balanced", max_iter=1000, tol=1e-5)
        model.fit(features[:, common], np.repeat([1, 0], [len(good), len(bad)]))
        self._weights, self._bias = np.zeros(2**_BITS), float(model.intercept_[0])
        self._weights[common] = model.coef_[0]

    def limit(self, good: Scores, keep: float) -> float:
        """The score that a share of the good examples reaches at least."""
        return float(np.quantile(good, 1 - keep, method="lower"))

    def reaches(self, score: float, limit: float) -> bool:
        """Whether a score is as good as the limit or better."""
        return score >= limit

    def bin(self, score: float) -> str:
        """Tenths."""
        return f"probability {min(int(score * 10), 9) / 10:.1f}"

    def _scores(self, documents: Sequence[Ids]) -> Scores:
        from scipy.special import expit

        probabilities: Scores = expit(_features(documents) @ self._weights + self._bias)
        return probabilities


def _stream(documents: Sequence[Ids]) -> Ids:
    """The documents one after another, each with an end."""
    return np.concatenate([part for ids in documents for part in (ids, [_END])])


def _features(documents: Sequence[Ids]) -> Any:
    """Which words and pairs of words stand in each document, `(documents, 2**_BITS)`; each row has length 1."""
    from scipy.sparse import csr_array

    rows = []
    for ids in documents:
        pairs = (ids[:-1] * 1_000_003 + ids[1:]) % 2**_BITS
        rows.append(np.unique(np.concatenate((ids, pairs))))
    sizes = np.array([len(row) for row in rows])
    values = np.repeat(1 / np.sqrt(sizes), sizes)
    ends = np.concatenate(([0], np.cumsum(sizes)))
    return csr_array((values, np.concatenate(rows), ends), shape=(len(rows), 2**_BITS))
