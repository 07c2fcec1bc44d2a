"""In how many documents an n-gram stands."""

from __future__ import annotations

import numpy as np
import pytest

from langmill.data.near_duplicates.common import DocumentFrequencies
from langmill.data.near_duplicates.words import ngrams

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("threads", [1, 2])
def test_documents_are_counted_and_not_occurrences(threads: int) -> None:
    header, often = [1, 2, 3], [7, 8, 9]
    generator = np.random.default_rng(0)
    texts = [np.array([*header, *generator.integers(100, 2**32, 20)], np.uint32) for _ in range(400)]
    texts.append(np.array(often * 300, np.uint32))
    frequencies = DocumentFrequencies(sum(map(len, texts)), 3)
    for part in (texts[:150], texts[150:]):
        frequencies.count([(np.concatenate(part), np.cumsum([len(text) for text in part]))], threads)
    of_header, of_often = (ngrams(np.array(words, np.uint32), 3) for words in (header, often))
    assert frequencies.are_common(of_header, 200).tolist() == [True]  # and 400 do not overflow
    assert frequencies.are_common(of_often, 1).tolist() == [False]
    assert frequencies.are_common(ngrams(texts[0][3:], 3), 2).mean() < 0.05
