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

    In memory are 12 bytes for each document and bucket that it shares with another.

    Args:
        ordered: Documents in the order of preference.
        bands: One band of every document's signature; called with its number.
    """

    def __init__(self, ordered: npt.NDArray[np.int64], bands: Callable[[int], Hashes]) -> None:
        members: list[npt.NDArray[np.int32]] = []
        begins: list[npt.NDArray[np.int32 | np.int64]] = []
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
            starts = np.flatnonzero(~alike[:-1][shared])
            members.append(found.astype(np.int32))
            places = size + np.repeat(starts, np.diff(starts, append=len(found)))
            size += len(found)
            begins.append(places.astype(np.int32 if size < 2**31 else np.int64))
            shares[found] = True
        self.documents = np.flatnonzero(shares)
        """Those that share a bucket, by their place in `ordered`."""
        rows = np.cumsum(shares) - 1
        wide = np.int32 if size < 2**31 else np.int64
        self._begins = np.full((len(self.documents), BANDS), -1, wide)
        for band in range(BANDS):
            self._begins[rows[members[band]], band] = begins[band]
            begins[band] = begins[band][:0]
        self._members = np.concatenate([*members, np.empty(0, np.int32)])

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
