"""An n-gram language model: interpolated modified Kneser-Ney (Chen and Goodman, 1999), vectorised.

Every order is discounted by one of three amounts, estimated from counts of counts, and interpolated with the next lower
order; lower orders count distinct left neighbours in place of occurrences; the unigram is interpolated with the uniform
distribution, so that every token has a probability above zero. With order 1 it is a smoothed unigram.

A document is a run of tokens that ends with the end-of-text token. The context of its first tokens is filled up with
end-of-text tokens, and no n-gram reaches into the document before. N-grams are packed into int64 keys, counted by
sorting and found by binary search; there is no Python loop over tokens.

Shape suffixes: N tokens, O the model's order, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from langmill.errors import DataError

Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Level:
    """The n-grams of one length and their contexts, both as sorted packed keys."""

    keys: Int64
    probability: Float64
    """The discounted part `max(c - D(c), 0) / c(context)` of each n-gram's probability."""
    contexts: Int64
    starts: Int64
    """Where each context's n-grams begin in `keys`; one more entry at the end."""
    backoff: Float64
    """The mass that each context leaves to the lower order."""


@dataclass(frozen=True)
class NgramModel:
    """A fitted model; `levels[0]` is the unigram."""

    vocab_size: int
    eot_id: int
    levels: tuple[Level, ...]

    @property
    def order(self) -> int:
        """Tokens in the longest n-gram."""
        return len(self.levels)

    def nats(self, tokens_N: NDArray[np.integer]) -> Float64:
        """Each token's negative natural-log probability, `(N,)`; the first token begins a document."""
        return -np.log(self._probabilities(_windows(tokens_N, self.order, self.eot_id)))

    def most_likely(self, tokens_N: NDArray[np.integer]) -> Int64:
        """The most likely token at every place, given what is before it, `(N,)`.

        Among the tokens not seen after a context, the most likely one is that of the shorter context; so it and the
        seen ones are the only candidates, order by order.
        """
        bits = _bits(self.vocab_size)
        contexts_NO = _windows(tokens_N, self.order, self.eot_id)
        contexts_NO[:, -1] = 0
        distinct, back = np.unique(_pack(contexts_NO, self.order, bits), return_inverse=True)
        rows = np.stack([distinct >> (bits * (self.order - 1 - c)) for c in range(self.order)], axis=1)
        rows &= (1 << bits) - 1
        best = np.zeros(len(rows), dtype=np.int64)
        for order in range(1, self.order + 1):
            best = self._most_likely(rows, best, order)
        return best[back]

    def _most_likely(self, contexts_NO: Int64, shorter: Int64, order: int) -> Int64:
        """The best last token of n-grams of `order`, given the best ones of the order below."""
        level = self.levels[order - 1]
        bits = _bits(self.vocab_size)
        contexts, back = np.unique(_pack(contexts_NO, order, bits) >> bits, return_inverse=True)
        representative = np.empty(len(contexts), dtype=np.int64)
        representative[back] = np.arange(len(back))
        rows = contexts_NO[representative].copy()
        rows[:, -1] = best = shorter[representative].copy()
        highest = self._probabilities(rows, order)

        at, found = _find(level.contexts, contexts)
        at, seen = at[found], np.flatnonzero(found)
        if len(seen):
            sizes = level.starts[at + 1] - level.starts[at]
            offsets = np.concatenate(([0], np.cumsum(sizes)[:-1]))
            members = np.arange(sizes.sum()) - np.repeat(offsets - level.starts[at], sizes)
            candidates = level.keys[members] & ((1 << bits) - 1)
            expanded = rows[np.repeat(seen, sizes)]
            expanded[:, -1] = candidates
            probability = self._probabilities(expanded, order)
            top = np.maximum.reduceat(probability, offsets)
            place = np.where(probability == np.repeat(top, sizes), np.arange(len(probability)), len(probability))
            winner = candidates[np.minimum.reduceat(place, offsets)]
            best[seen] = np.where(top > highest[seen], winner, best[seen])
        return best[back]

    def _probabilities(self, windows_NO: Int64, order: int | None = None) -> Float64:
        """The probability of each row's last id after those before it, by the lowest `order` levels."""
        bits = _bits(self.vocab_size)
        result = np.full(len(windows_NO), 1.0 / self.vocab_size)
        for length, level in enumerate(self.levels[:order], start=1):
            key = _pack(windows_NO, length, bits)
            # A context that was never seen hands all its mass down; its n-grams were never seen either.
            at, found = _find(level.contexts, key >> bits)
            result *= np.where(found, level.backoff[at], 1.0)
            at, found = _find(level.keys, key)
            result += np.where(found, level.probability[at], 0.0)
        return result


def fit_ngram(tokens_N: NDArray[np.integer], vocab_size: int, eot_id: int, order: int) -> NgramModel:
    """Estimate a model from whole documents, each ended by the end-of-text token.

    Raises DataError where there are no tokens, or `order` tokens of this vocabulary do not fit in a 62-bit key.
    """
    bits = _bits(vocab_size)
    if not len(tokens_N):
        raise DataError("The training split has no tokens to fit an n-gram model to; add documents.", "too_few")
    if order * bits > 62:
        raise DataError(f"{order}-grams need a vocabulary of at most {2 ** (62 // order):,} entries.", "unsupported")
    packed = _pack(_windows(tokens_N, order, eot_id), order, bits)
    packed.sort()
    keys, counts = _run_lengths(packed)
    levels: list[Level] = []
    for length in range(order, 0, -1):
        levels.append(_level(keys, counts, bits))
        if length > 1:
            # The lower order counts how many distinct tokens come before it.
            lower = keys & ((1 << (bits * (length - 1))) - 1)
            lower.sort()
            keys, counts = _run_lengths(lower)
    return NgramModel(vocab_size, eot_id, tuple(reversed(levels)))


def _level(keys: Int64, counts: Int64, bits: int) -> Level:
    context = keys >> bits  # the keys are sorted, so the n-grams of one context stand together
    starts = np.flatnonzero(np.concatenate(([True], context[1:] != context[:-1])))
    totals = np.add.reduceat(counts, starts).astype(np.float64)
    ends = np.append(starts, len(keys))
    discount = np.array((0.0, *_discounts(counts)))[np.minimum(counts, 3)]
    probability = (counts - discount) / np.repeat(totals, np.diff(ends))
    backoff = np.add.reduceat(discount, starts) / totals
    return Level(keys, probability, context[starts], ends, backoff)


def _discounts(counts: Int64) -> list[float]:
    """The three discounts from the counts of counts (Chen and Goodman, 1999, equation 17).

    Data too small or too regular for an estimate between 0 and the count itself gets half the count: any value in that
    range makes a proper distribution.
    """
    of_count = [float(np.count_nonzero(counts == count)) for count in range(5)]
    result = []
    for count in (1, 2, 3):
        discount = 0.5 * count
        if of_count[1] and of_count[2] and of_count[count] and of_count[count + 1]:
            y = of_count[1] / (of_count[1] + 2 * of_count[2])
            estimate = count - (count + 1) * y * of_count[count + 1] / of_count[count]
            if 0 < estimate < count:
                discount = estimate
        result.append(discount)
    return result


def _windows(tokens_N: NDArray[np.integer], order: int, eot_id: int) -> Int64:
    """Row by row, the `order - 1` ids before a token and the token, `(N, O)`; ids of earlier documents become eot."""
    windows = np.empty((len(tokens_N), order), dtype=np.int64, order="F")
    windows[:, -1] = tokens_N
    ended = np.zeros(len(tokens_N), dtype=bool)  # whether a document ended between the id looked at and the token
    for back in range(1, order):
        previous = np.full(len(tokens_N), eot_id, dtype=np.int64)
        previous[back:] = tokens_N[:-back]
        ended |= previous == eot_id
        windows[:, order - 1 - back] = np.where(ended, eot_id, previous)
    return windows


def _pack(windows_NO: Int64, order: int, bits: int) -> Int64:
    """The last `order` ids of each row as one key."""
    key = windows_NO[:, -order].copy()
    for column in range(1 - order, 0):
        key <<= bits
        key |= windows_NO[:, column]
    return key


def _run_lengths(ordered: Int64) -> tuple[Int64, Int64]:
    """The distinct values of a sorted array, and how often each is there."""
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    return ordered[starts], np.diff(np.append(starts, len(ordered)))


def _find(ordered: Int64, wanted: Int64) -> tuple[Int64, NDArray[np.bool_]]:
    """Where each wanted key is in a sorted array, and whether it is there; looked up in order, which caches like."""
    turn = np.argsort(wanted)
    at = np.empty(len(wanted), dtype=np.int64)
    at[turn] = np.searchsorted(ordered, wanted[turn])
    np.minimum(at, len(ordered) - 1, out=at)
    return at, ordered[at] == wanted


def _bits(vocab_size: int) -> int:
    return max(1, int(vocab_size - 1).bit_length())
