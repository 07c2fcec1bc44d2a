"""What a person would try before a neural network, fitted on the same documents and scored on the same ones.

All of it is scikit-learn's, deterministic, and a matter of seconds to a minute.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from langmill.scoring.words import words

_REGULARISATION = 10.0  # C of the logistic regression: what does best on film reviews (Wang & Manning, 2012, use 1)
_ITERATIONS = 1000
_MOST_FEATURES = 500_000
_ROWS_AT_ONCE = 1000


def tfidf_logistic_regression(
    texts: Sequence[str], labels: npt.ArrayLike, num_labels: int, asked: Sequence[str]
) -> np.ndarray:
    """Probabilities `(asked, num_labels)` of a logistic regression over TF-IDF of words and pairs of words.

    A label that no text has gets 0.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    least = 2 if len(texts) >= 100 else 1  # documents that a feature must be in
    vectorizer = TfidfVectorizer(
        analyzer=_words_and_pairs, sublinear_tf=True, min_df=least, max_features=_MOST_FEATURES, dtype=np.float32
    )
    shares = np.bincount(np.asarray(labels), minlength=num_labels) / len(texts)
    try:
        features = vectorizer.fit_transform(texts)
    except ValueError:  # no text has a word
        return np.tile(shares, (len(asked), 1))
    if np.count_nonzero(shares) < 2:
        return np.tile(shares, (len(asked), 1))
    model = LogisticRegression(C=_REGULARISATION, max_iter=_ITERATIONS)
    model.fit(features, np.asarray(labels))
    result = np.zeros((len(asked), num_labels))
    result[:, model.classes_] = model.predict_proba(vectorizer.transform(asked))
    return result


def _words_and_pairs(text: str) -> list[str]:
    """The words of a text, and each with the next; scikit-learn's `ngram_range=(1, 2)` takes longer for the same."""
    single = words(text, joined="_")
    return single + [f"{first} {second}" for first, second in pairwise(single)]


def translation_memory(texts: Sequence[str], targets: Sequence[str], asked: Sequence[str]) -> list[str]:
    """The target of the text that is most like each asked one, as a translator's memory gives it.

    Likeness is the cosine of TF-IDF over character n-grams (2 to 4, within words); of equally like texts the first one
    counts.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, max_features=_MOST_FEATURES, dtype=np.float32
    )
    try:
        known = vectorizer.fit_transform(texts)
    except ValueError:  # no text has a character that counts
        return [targets[0]] * len(asked)
    wanted = vectorizer.transform(asked)
    nearest: list[int] = []
    for start in range(0, len(asked), _ROWS_AT_ONCE):
        likeness = (wanted[start : start + _ROWS_AT_ONCE] @ known.T).tocsr()
        for row in range(likeness.shape[0]):
            begin, end = likeness.indptr[row], likeness.indptr[row + 1]
            values, columns = likeness.data[begin:end], likeness.indices[begin:end]
            nearest.append(int(columns[values == values.max()].min()) if end > begin else 0)
    return [targets[index] for index in nearest]
