"""Learn the pieces of a unigram language model (Kudo, 2018, section 3.2; the details are SentencePiece's).

Shape suffixes as in `lattice`: B bytes, E edges, P pieces, W words.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.special import digamma

from langmill.tokenization.lattice import BYTES, Lattice, Trie, Words

_MIN_COUNT = 2  # of a piece to begin with
_LONGEST_WORD = 256
"""Bytes; what is counted of a longer word are its parts of this length. The number of steps is the longest word's."""
_MOST_BYTES = 8_000_000
"""Of different words, the commonest first; memory and time grow with it. 30 MB of film reviews have 0.9 million."""
_ROUNDS = 2  # of expectation and maximisation before pieces are dropped
_KEPT = 0.75  # of the pieces, in a round
_SURPLUS = 1.1  # times the wanted number, where the rounds end
_LEAST_EXPECTED = 0.5  # occurrences of a piece that stays
_UNSEEN = 0.1  # occurrences that a byte counts for which has none


def learn_pieces(
    counts: Mapping[bytes, int], size: int, longest_piece: int, seeds_per_entry: int
) -> list[tuple[bytes, float]]:
    """Learn pieces and their log probabilities.

    Args:
        counts: How often each word occurs; no piece crosses two.
        size: Pieces wanted, the 256 bytes included.
        longest_piece: Bytes of a piece, at most.
        seeds_per_entry: Pieces to begin with, as a multiple of `size`.

    Returns:
        The 256 bytes, then the other pieces, the most probable first: at most `size`.
    """
    words, counts_W = _bounded(counts)
    room = max(0, size - BYTES)
    pieces = [bytes([byte]) for byte in range(BYTES)]
    if room == 0 or not words:
        return [(piece, 0.0) for piece in pieces]
    row = Words.of(words)
    seeds, seed_counts = _seeds(row, counts_W, longest_piece, room * seeds_per_entry)
    pieces += seeds
    by_byte = np.bincount(row.data_B, weights=counts_W[row.word_B], minlength=BYTES)
    freq_P = np.concatenate([np.maximum(by_byte, _UNSEEN), seed_counts])
    scores_P = np.log(freq_P / freq_P.sum())
    lattice = Lattice.of(row, Trie(pieces))
    target = BYTES + int(room * _SURPLUS)
    while True:
        for _ in range(_ROUNDS):
            expected_P, _ = lattice.expected_counts(scores_P, counts_W)
            keep_P = expected_P >= _LEAST_EXPECTED
            keep_P[:BYTES] = True
            pieces, lattice, expected_P = _without(pieces, lattice, expected_P, keep_P)
            expected_P = np.maximum(expected_P, _UNSEEN)
            scores_P = digamma(expected_P) - digamma(expected_P.sum())
        if len(pieces) <= target:
            break
        keep_P = _worth_keeping(pieces, lattice, scores_P, counts_W, max(target, int(_KEPT * len(pieces))))
        pieces, lattice, scores_P = _without(pieces, lattice, scores_P, keep_P)
    others = sorted(zip(pieces[BYTES:], scores_P[BYTES:].tolist(), strict=True), key=lambda each: (-each[1], each[0]))
    return [*zip(pieces[:BYTES], scores_P[:BYTES].tolist(), strict=True), *others[:room]]


def _bounded(counts: Mapping[bytes, int]) -> tuple[list[bytes], np.ndarray]:
    """The commonest words and how often they occur, the long ones cut."""
    parts: dict[bytes, int] = {}
    for word, count in counts.items():
        for start in range(0, len(word), _LONGEST_WORD):
            part = word[start : start + _LONGEST_WORD]
            parts[part] = parts.get(part, 0) + count
    words: list[bytes] = []
    left = _MOST_BYTES
    for word, _ in sorted(parts.items(), key=lambda item: (-item[1], item[0])):
        left -= len(word)
        if left < 0:
            break
        words.append(word)
    return words, np.array([parts[word] for word in words], dtype=np.float64)


def _seeds(words: Words, counts_W: np.ndarray, longest: int, most: int) -> tuple[list[bytes], np.ndarray]:
    """The parts of words of 2 to `longest` bytes that occur twice: the `most` with the most bytes of text in all.

    A part occurs twice only if the part without its last byte does: each length looks where the one before found some.
    """
    places = np.arange(len(words.data_B))
    ids = words.data_B.astype(np.int64)
    first: list[np.ndarray] = []
    found: list[np.ndarray] = []
    lengths: list[np.ndarray] = []
    for length in range(2, longest + 1):
        longer = words.rest_B[places] >= length
        places, ids = places[longer], ids[longer]
        if not len(places):
            break
        keys = ids * BYTES + words.data_B[places + length - 1]
        _, example, inverse = np.unique(keys, return_index=True, return_inverse=True)
        counts = np.bincount(inverse, weights=counts_W[words.word_B[places]])
        common = counts >= _MIN_COUNT
        first.append(places[example[common]])
        found.append(counts[common])
        lengths.append(np.full(int(common.sum()), length))
        kept = common[inverse]
        places, ids = places[kept], inverse[kept]
    if not first:
        return [], np.zeros(0)
    first_P, count_P, length_P = np.concatenate(first), np.concatenate(found), np.concatenate(lengths)
    order = np.argsort(-count_P * length_P, kind="stable")[:most]
    data = words.data_B.tobytes()
    chosen = [data[start : start + length] for start, length in zip(first_P[order], length_P[order], strict=True)]
    return chosen, count_P[order]


def _without(
    pieces: list[bytes], lattice: Lattice, values_P: np.ndarray, keep_P: np.ndarray
) -> tuple[list[bytes], Lattice, np.ndarray]:
    """Pieces, lattice and a value of each piece, without the pieces that are not kept."""
    if keep_P.all():
        return pieces, lattice, values_P
    number_P = np.cumsum(keep_P) - 1
    kept = lattice.only(keep_P[lattice.piece_E])
    kept.piece_E = number_P[kept.piece_E]
    return [piece for piece, keep in zip(pieces, keep_P.tolist(), strict=True) if keep], kept, values_P[keep_P]


def _worth_keeping(
    pieces: list[bytes], lattice: Lattice, scores_P: np.ndarray, counts_W: np.ndarray, most: int
) -> np.ndarray:
    """Choose the pieces without which the words would lose the most likelihood, and the bytes, `most` in all."""
    freq_P = np.zeros(len(pieces))
    for words, used in lattice.best(scores_P)[1]:
        np.add.at(freq_P, used, counts_W[words])
    total = freq_P.sum()
    # Each piece as a word, to be written with others.
    inner = Lattice.of(Words.of(pieces), Trie(pieces))
    inner = inner.only(~inner.is_whole_E)
    other_P, ways = inner.best(scores_P)
    log_freq_P, num_P = np.zeros(len(pieces)), np.zeros(len(pieces))
    for whole, used in ways:
        log_freq_P[whole] += np.log(np.maximum(freq_P[used] + freq_P[whole], _UNSEEN))
        num_P[whole] += 1
    own = np.log(np.maximum(freq_P, _UNSEEN)) - np.log(total)
    instead = log_freq_P - num_P * np.log(total + freq_P * np.maximum(num_P - 1, 0))
    loss_P = freq_P / counts_W.sum() * (own - instead)
    # What is never the most probable way to write anything can go.
    loss_P[(freq_P == 0) | (other_P > scores_P)] = -np.inf
    loss_P[:BYTES] = np.inf
    keep_P = np.zeros(len(pieces), dtype=bool)
    keep_P[np.argsort(-loss_P, kind="stable")[:most]] = True
    keep_P &= loss_P > -np.inf
    return keep_P
