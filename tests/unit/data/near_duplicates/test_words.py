"""Words of any script, the same numbers everywhere, and n-grams that stay within their text."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langmill.config.sections import Folding
from langmill.data.near_duplicates.words import ngrams, ngrams_of_each, words_of
from tests.unit.timing import require_linear

pytestmark = pytest.mark.unit


def words(text: str, folding: Folding = Folding.text) -> list[int]:
    return words_of([text], folding)[0].tolist()


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("...!?", 0),
        ("one", 1),
        ("Don't stop", 3),
        ("Größe über\u00a0alles", 3),
        ("e\u0301te\u0301 ici", 2),
        ("हिन्दी में", 2),
        ("日本語", 3),
        ("ภาษา", 4),
        ("한국어 문장", 2),
        ("GPT-4 は強い", 5),
        ("a_b", 2),
    ],
)
def test_a_script_without_spaces_has_a_word_a_letter(text: str, count: int) -> None:
    assert len(words(text)) == count


def test_case_and_punctuation_are_words_apart_in_code_only() -> None:
    assert words("Return A, b") == words("return a b")
    assert words("Return a", Folding.code) != words("return a", Folding.code)
    assert len(words("a_b += f(x)", Folding.code)) == 7  # a_b, +, =, f, (, x, )
    assert words("a  b", Folding.code) == words("a\n\tb", Folding.code)


@given(st.lists(st.text(st.sampled_from("ab \n.é日"), max_size=30), max_size=8), st.sampled_from(list(Folding)))
def test_texts_together_are_as_each_alone(texts: list[str], folding: Folding) -> None:
    found, ends = words_of(texts, folding)
    parts = np.split(found, ends[:-1]) if texts else []
    assert [part.tolist() for part in parts] == [words(text, folding) for text in texts]


@given(st.text(st.sampled_from("ab "), max_size=12), st.text(st.sampled_from("ab "), max_size=12))
def test_words_are_equal_where_their_letters_are(one: str, other: str) -> None:
    assert (words(one) == words(other)) is (one.split() == other.split())


def test_long_texts_are_cut_where_they_alone_say() -> None:
    long = "word " * 200_000
    alone = words(long)
    assert 200_000 <= len(alone) <= 200_010
    found, ends = words_of(["short one", long, "end"], Folding.text)
    assert found[ends[0] : ends[1]].tolist() == alone
    assert ends[-1] - ends[-2] == 1


def test_the_numbers_are_part_of_the_contract() -> None:
    """Were these to change, every corpus would have other near duplicates."""
    found, _ = words_of(["The quick brown fox, größer als 日本; don't", "x = a[0]"], Folding.text)
    grams = ngrams(found, 3)
    assert hashlib.sha256(found.tobytes() + grams.tobytes()).hexdigest()[:16] == "d90596c27d417b3d"


def test_no_ngram_reaches_from_one_text_into_the_next() -> None:
    texts = ["a b c d", "", "e f", "g h i", "a b c"]
    found, ends = words_of(texts, Folding.text)
    grams, owners = ngrams_of_each(found, ends, 3)
    assert owners.tolist() == [0, 0, 3, 4]
    assert grams.tolist() == [gram for text in texts for gram in ngrams(np.array(words(text), np.uint32), 3).tolist()]
    assert grams[0] == grams[-1]
    assert ngrams_of_each(found, ends, 20)[0].tolist() == []


def test_order_counts_in_an_ngram() -> None:
    assert ngrams(np.array([1, 2, 3], np.uint32), 3) != ngrams(np.array([3, 2, 1], np.uint32), 3)


@pytest.mark.parametrize("unit", ["a", "a ", "é ", "日", ". "])
def test_words_take_linear_time(unit: str) -> None:
    require_linear(words, lambda size: unit * size)
