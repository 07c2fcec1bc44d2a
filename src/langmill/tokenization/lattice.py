"""All ways to write many words as pieces, at once: sums and best ways over them in NumPy.

A word of n bytes has n + 1 nodes, the places between its bytes; each piece that stands in it is an edge. The nodes of
all words are numbered in one row. Everything goes from place to place of all words together, so that the number of
steps is the length of the longest word, and the work the number of edges.

Shape suffixes: B bytes of all words, E edges, N nodes, P pieces, W words.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

BYTES = 256


class Trie:
    """Pieces by their beginnings.

    Args:
        pieces: The pieces; each beginning of one becomes a node.
    """

    def __init__(self, pieces: Sequence[bytes]) -> None:
        nodes: dict[bytes, int] = {b"": 0}
        keys: list[int] = []
        self._pieces: list[int] = [-1]
        for number, piece in enumerate(pieces):
            for end in range(1, len(piece) + 1):
                if piece[:end] not in nodes:
                    keys.append(nodes[piece[: end - 1]] * BYTES + piece[end - 1])
                    nodes[piece[:end]] = len(nodes)
                    self._pieces.append(-1)
            self._pieces[nodes[piece]] = number
        order = np.argsort(keys)
        self._keys = np.array(keys, dtype=np.int64)[order]
        self._children = (order + 1).astype(np.int64)  # a node's number is one more than its key's place
        self._piece_of = np.array(self._pieces, dtype=np.int64)

    def matches(self, data_B: np.ndarray, rest_B: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """The pieces in some bytes, by their length: the length, where they begin, and which they are.

        Args:
            data_B: The bytes, uint8.
            rest_B: Bytes from each on to the end of its word.
        """
        places = np.arange(len(data_B))
        nodes = np.zeros(len(data_B), dtype=np.int64)
        length = 1
        while len(places):
            keys = nodes * BYTES + data_B[places + length - 1]
            found = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
            known = self._keys[found] == keys
            places, nodes = places[known], self._children[found[known]]
            pieces = self._piece_of[nodes]
            whole = pieces >= 0
            yield length, places[whole], pieces[whole]
            longer = rest_B[places] > length
            places, nodes = places[longer], nodes[longer]
            length += 1


@dataclass(frozen=True)
class Words:
    """Words as one row of bytes."""

    data_B: np.ndarray
    word_B: np.ndarray
    """Which word each byte is of."""
    starts_W: np.ndarray
    """Where each word begins."""
    lengths_W: np.ndarray

    @classmethod
    def of(cls, words: Sequence[bytes]) -> Words:
        """Put words, none of them empty, in a row."""
        lengths = np.array([len(word) for word in words], dtype=np.int64)
        starts = np.cumsum(lengths) - lengths
        data = np.frombuffer(b"".join(words), dtype=np.uint8)
        return cls(data, np.repeat(np.arange(len(words)), lengths), starts, lengths)

    @functools.cached_property
    def rest_B(self) -> np.ndarray:
        """Bytes from each byte on to the end of its word."""
        ends = self.starts_W + self.lengths_W
        rest: np.ndarray = ends[self.word_B] - np.arange(len(self.data_B))
        return rest


@dataclass(frozen=True)
class _Level:
    """The edges that end at one place of their words, those into one node side by side."""

    edges: slice
    firsts: np.ndarray
    """Where the edges into each node begin, counted in the level."""
    nodes: np.ndarray
    counts: np.ndarray
    """Edges into each node."""


class Lattice:
    """The edges of words, sorted by the place in the word where they end, then by the node."""

    def __init__(self, words: Words, begin_E: np.ndarray, length_E: np.ndarray, piece_E: np.ndarray) -> None:
        """Make a lattice of edges that are in order already; see `of`."""
        self.words = words
        self._begin_E, self._length_E, self.piece_E = begin_E, length_E, piece_E
        self._start_E, self._end_E, self._place_E = _nodes(words, begin_E, length_E)
        self._num_nodes = len(words.data_B) + len(words.starts_W)
        self._first_W = words.starts_W + np.arange(len(words.starts_W))

    @classmethod
    def of(cls, words: Words, trie: Trie) -> Lattice:
        """Find every piece in every word."""
        found = list(trie.matches(words.data_B, words.rest_B))
        length_E = np.concatenate([np.full(len(places), length, dtype=np.int64) for length, places, _ in found])
        begin_E, piece_E = (np.concatenate([each[part] for each in found]) for part in (1, 2))
        _, end_E, place_E = _nodes(words, begin_E, length_E)
        order = np.lexsort((length_E, end_E, place_E))
        return cls(words, begin_E[order], length_E[order], piece_E[order])

    def only(self, keep_E: np.ndarray) -> Lattice:
        """The lattice of some of the edges."""
        return Lattice(self.words, self._begin_E[keep_E], self._length_E[keep_E], self.piece_E[keep_E])

    @property
    def is_whole_E(self) -> np.ndarray:
        """Whether each edge is its whole word."""
        whole: np.ndarray = self._length_E == self.words.lengths_W[self.words.word_B[self._begin_E]]
        return whole

    @functools.cached_property
    def _levels(self) -> list[_Level]:
        bounds = np.flatnonzero(np.diff(self._place_E, prepend=-1, append=-1))
        levels = []
        for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            ends = self._end_E[start:end]
            firsts = np.flatnonzero(np.diff(ends, prepend=-1))
            levels.append(_Level(slice(start, end), firsts, ends[firsts], np.diff(firsts, append=len(ends))))
        return levels

    def expected_counts(self, scores_P: np.ndarray, counts_W: np.ndarray) -> tuple[np.ndarray, float]:
        """How often each piece is expected in words that occur so often, and their log likelihood, in nats."""
        alpha_N = np.full(self._num_nodes, -np.inf)
        alpha_N[self._first_W] = 0.0
        score_E = scores_P[self.piece_E]
        for level in self._levels:
            values = alpha_N[self._start_E[level.edges]] + score_E[level.edges]
            highest = np.maximum.reduceat(values, level.firsts)
            sums = np.add.reduceat(np.exp(values - np.repeat(highest, level.counts)), level.firsts)
            alpha_N[level.nodes] = highest + np.log(sums)
        last_W = self._first_W + self.words.lengths_W
        weight_N = np.zeros(self._num_nodes)
        weight_N[last_W] = counts_W
        weight_E = np.empty(len(self.piece_E))
        for level in reversed(self._levels):
            start, end = self._start_E[level.edges], self._end_E[level.edges]
            share = np.exp(alpha_N[start] + score_E[level.edges] - alpha_N[end])
            weight_E[level.edges] = weight = weight_N[end] * share
            np.add.at(weight_N, start, weight)
        expected = np.bincount(self.piece_E, weights=weight_E, minlength=len(scores_P))
        return expected, float(counts_W @ alpha_N[last_W])

    def best(self, scores_P: np.ndarray) -> tuple[np.ndarray, Iterator[tuple[np.ndarray, np.ndarray]]]:
        """The most likely way to write each word.

        Returns:
            The log probability of each word's, -inf where there is none, and the pieces of all of them, in steps: the
            words that have one more, and which piece it is, from the last piece on.
        """
        best_N = np.full(self._num_nodes, -np.inf)
        best_N[self._first_W] = 0.0
        back_N = np.full(self._num_nodes, -1, dtype=np.int64)
        score_E = scores_P[self.piece_E]
        for level in self._levels:
            values = best_N[self._start_E[level.edges]] + score_E[level.edges]
            highest = np.maximum.reduceat(values, level.firsts)
            is_best = np.flatnonzero(values == np.repeat(highest, level.counts))[::-1]
            edges = is_best + level.edges.start
            back_N[self._end_E[edges]] = edges  # of several, the first is written last
            best_N[level.nodes] = highest
        last_W = self._first_W + self.words.lengths_W
        return best_N[last_W], self._trace(back_N, best_N)

    def _trace(self, back_N: np.ndarray, best_N: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        nodes = self._first_W + self.words.lengths_W
        words = np.flatnonzero(np.isfinite(best_N[nodes]))
        nodes = nodes[words]
        while len(words):
            edges = back_N[nodes]
            yield words, self.piece_E[edges]
            nodes = self._start_E[edges]
            more = nodes > self._first_W[words]
            words, nodes = words[more], nodes[more]


def _nodes(words: Words, begin_E: np.ndarray, length_E: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where each edge starts and ends, in nodes, and the place in its word where it ends."""
    word_E = words.word_B[begin_E]
    start_E = begin_E + word_E
    return start_E, start_E + length_E, begin_E - words.starts_W[word_E] + length_E
