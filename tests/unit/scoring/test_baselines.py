"""The strong baselines: they learn what there is to learn, and give the same answer every time."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer

from langmill.scoring.baselines import _words_and_pairs, tfidf_logistic_regression, translation_memory
from langmill.scoring.words import words

pytestmark = pytest.mark.unit


def test_logistic_regression_learns_words() -> None:
    texts = [f"{word} film number {number}" for number in range(40) for word in ("good", "dull", "odd")]
    labels = [0, 1, 3] * 40
    found_NK = tfidf_logistic_regression(texts, labels, 4, ["a good one", "dull", "odd thing", "nothing known"])
    assert found_NK.shape == (4, 4)
    assert found_NK.sum(axis=1) == pytest.approx(np.ones(4))
    assert found_NK[:3].argmax(axis=1).tolist() == [0, 1, 3]
    assert (found_NK[:, 2] == 0).all()  # a label that no text has
    again_NK = tfidf_logistic_regression(texts, labels, 4, ["a good one", "dull", "odd thing", "nothing known"])
    assert np.array_equal(found_NK, again_NK)


@pytest.mark.parametrize("text", ["", "One", "It's a film, a film!", "静夜思 film", "foo_bar Größe 3.14"])
def test_features_are_scikit_learns_words_and_pairs(text: str) -> None:
    theirs = CountVectorizer(
        ngram_range=(1, 2), lowercase=False, token_pattern=None, tokenizer=lambda text: words(text, joined="_")
    )
    assert _words_and_pairs(text) == theirs.build_analyzer()(text)


@pytest.mark.parametrize(("texts", "labels"), [(["!", "?"], [0, 1]), (["good", "fine"], [0, 0])])
def test_without_words_or_labels_to_tell_apart_the_shares_are_all_there_is(texts: list[str], labels: list[int]) -> None:
    found_NK = tfidf_logistic_regression(texts, labels, 2, ["good"])
    assert found_NK.tolist() == [[labels.count(0) / 2, labels.count(1) / 2]]


def test_a_memory_gives_the_target_of_the_nearest_text() -> None:
    texts = ["Save file", "Open the file", "Quit", "Save file"]
    targets = ["Datei speichern", "Datei öffnen", "Beenden", "anders"]
    found = translation_memory(texts, targets, ["Save files", "open a file", "Quit!", "Save file", "xyz"])
    assert found == ["Datei speichern", "Datei öffnen", "Beenden", "Datei speichern", "Datei speichern"]
