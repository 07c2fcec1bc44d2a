"""The unigram model of pieces: sums and best ways against all ways written out, and what it learns."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from langmill.tokenization.lattice import Lattice, Trie, Words
from langmill.tokenization.pieces import learn_pieces

pytestmark = pytest.mark.unit
PIECES = [b"a", b"b", b"c", b"ab", b"bc", b"abc", b"ca", b"bb"]
SCORES = np.log([0.2, 0.1, 0.1, 0.2, 0.1, 0.05, 0.15, 0.1])
WORDS = [b"a", b"abc", b"abcabc", b"bbb", b"cabbc"]
COUNTS = np.array([5.0, 3.0, 2.0, 7.0, 1.0])


def ways(word: bytes) -> list[list[int]]:
    """Every way to write a word."""
    if not word:
        return [[]]
    found = []
    for number, piece in enumerate(PIECES):
        if word.startswith(piece):
            found += [[number, *rest] for rest in ways(word[len(piece) :])]
    return found


@pytest.fixture
def lattice() -> Lattice:
    return Lattice.of(Words.of(WORDS), Trie(PIECES))


def test_expected_counts_are_those_over_all_ways(lattice: Lattice) -> None:
    expected, likelihood = np.zeros(len(PIECES)), 0.0
    for word, count in zip(WORDS, COUNTS, strict=True):
        chances = [math.exp(sum(SCORES[number] for number in way)) for way in ways(word)]
        likelihood += count * math.log(sum(chances))
        for way, chance in zip(ways(word), chances, strict=True):
            np.add.at(expected, way, count * chance / sum(chances))
    found, own = lattice.expected_counts(SCORES, COUNTS)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert own == pytest.approx(likelihood, rel=1e-12)


def test_the_best_way_is_the_most_likely(lattice: Lattice) -> None:
    best, steps = lattice.best(SCORES)
    found: list[list[int]] = [[] for _ in WORDS]
    for words, pieces in steps:
        for word, piece in zip(words, pieces, strict=True):
            found[word].insert(0, piece)
    for number, word in enumerate(WORDS):
        scores = [sum(SCORES[piece] for piece in way) for way in ways(word)]
        assert best[number] == pytest.approx(max(scores))
        assert sum(SCORES[piece] for piece in found[number]) == pytest.approx(max(scores))
        assert b"".join(PIECES[piece] for piece in found[number]) == word


def test_a_word_that_can_not_be_written() -> None:
    whole = Lattice.of(Words.of([b"ab", b"a"]), Trie([b"a", b"ab"]))
    best, steps = whole.only(~whole.is_whole_E).best(np.zeros(2))
    assert not np.isfinite(best).any() and list(steps) == []


def test_what_is_common_becomes_a_piece() -> None:
    words = {b"the": 50, b"then": 20, b"there": 20, b"film": 30, b"films": 10, b"x" * 600: 1}
    pieces = learn_pieces(words, 256 + 6, 16, 10)
    assert [piece for piece, _ in pieces[:256]] == [bytes([byte]) for byte in range(256)]
    learned = dict(pieces[256:])
    assert len(learned) <= 6 and {b"the", b"film"} <= set(learned)
    scores = list(learned.values())
    assert scores == sorted(scores, reverse=True)
    assert max(score for piece, score in pieces[:256] if piece not in (b"x", b"s", b"n", b"r", b"e")) < min(scores)


def test_no_room_and_nothing_to_learn() -> None:
    assert len(learn_pieces({b"abab": 5}, 256, 16, 10)) == 256
    assert len(learn_pieces({b"a": 5}, 300, 16, 10)) == 256
    assert len(learn_pieces({}, 300, 16, 10)) == 256


def test_the_order_of_the_words_has_no_influence() -> None:
    words = {bytes(each): 1 + sum(each) % 5 for each in itertools.product(b"abc", repeat=4)}
    backwards = dict(reversed(words.items()))
    assert learn_pieces(words, 300, 16, 10) == learn_pieces(backwards, 300, 16, 10)
