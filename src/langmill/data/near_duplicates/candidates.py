"""Which documents are compared: those that share a band of their signatures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from langmill.data.near_duplicates.minhash import BANDS, NONE
from langmill.data.near_duplicates.words import Hashes, distinct_counts

HEADS = 16
"""Documents of one bucket that the others in it are compared with: the first in the order of preference. A bucket that
holds more is of a template, or of copies of one document, which its first ones stand for."""
MOST = 32
"""Documents that one is compared with: those with which it shares the most bands. Two that say nearly the same share
several; what has a template in common with hundreds shares one with each."""
_HALF, _LOW = np.uint64(32), np.uint64(2**32 - 1)


class Candidates:
    """For each document those before it that share a bucket with it.

    In memory are 4 bytes for each document and bucket that it shares with another, and `4 * BANDS` for each document
    that shares any; some 2 more of the former while it is made.

    Args:
        ordered: Documents in the order of preference.
        bands: One band of every document's signature; called with its number.
    """

    def __init__(self, ordered: npt.NDArray[np.int64], bands: Callable[[int], Hashes]) -> None:
        members = np.empty(BANDS * len(ordered), np.int32)  # room for all; what is not written to takes no memory
        buckets: list[tuple[int, int, npt.NDArray[np.int32]]] = []  # where a band's members are, and its buckets there
        size = 0
        shares = np.zeros(len(ordered), bool)
        for band in range(BANDS):
            values = bands(band)[ordered]
            order = np.argsort(values, kind="stable")  # in each bucket in the order of preference
            values = values[order]
            alike = np.zeros(len(order) + 1, bool)
            alike[1:-1] = (values[1:] == values[:-1]) & (values[1:] != NONE)
            shared = alike[1:] | alike[:-1]  # like the one before or the one behind
            found = order[shared]
            buckets.append((size, size + len(found), np.flatnonzero(~alike[:-1][shared]).astype(np.int32)))
            members[size : size + len(found)] = found
            size += len(found)
            shares[found] = True
        self._members = members[:size]
        self.documents = np.flatnonzero(shares)
        """Those that share a bucket, by their place in `ordered`."""
        rows = np.cumsum(shares, dtype=np.int32) - 1
        self._begins = np.full((len(self.documents), BANDS), -1, np.int32 if size < 2**31 else np.int64)
        for band, (first, last, starts) in enumerate(buckets):
            begins = first + np.repeat(starts.astype(np.int64), np.diff(starts, append=last - first))
            self._begins[rows[members[first:last]], band] = begins

    def before(self, first: int, last: int) -> list[npt.NDArray[np.int64]]:
        """The documents before each of some that are to be compared with it, in the order of preference.

        All are given by their places in `ordered`.

        Args:
            first: The first of them, by its place in `documents`.
            last: The one behind the last.
        """
        places = self.documents[first:last]
        rows, bands = np.nonzero(self._begins[first:last] >= 0)
        begins = self._begins[first:last][rows, bands].astype(np.int64)
        heads = self._members.take(begins[:, None] + np.arange(HEADS), mode="clip").astype(np.int64)
        # A bucket's members ascend, and the document is one of them: what is before it is of the same bucket.
        before = np.logical_and.accumulate(heads != places[rows][:, None], axis=1)
        members = heads[before]
        owners = np.broadcast_to(rows[:, None], heads.shape)[before]
        numbers, counts = distinct_counts((owners.astype(np.uint64) << _HALF) | members.astype(np.uint64))
        owner, member = (numbers >> _HALF).astype(np.int64), (numbers & _LOW).astype(np.int64)
        ends = np.searchsorted(owner, np.arange(len(places)), side="right").tolist()
        found: list[npt.NDArray[np.int64]] = []
        begin = 0
        for end in ends:
            mine = member[begin:end]
            if end - begin > MOST:
                mine = np.sort(mine[np.lexsort((mine, -counts[begin:end]))[:MOST]])
            found.append(mine)
            begin = end
        return found
