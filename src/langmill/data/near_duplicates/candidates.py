"""Which documents are compared: those that share a band of their signatures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from langmill.data.near_duplicates.minhash import BANDS, NONE
from langmill.data.near_duplicates.words import Hashes

HEADS = 16
"""Documents of one bucket that the others in it are compared with: the first in the order of preference. A bucket that
holds more is of a template, or of copies of one document, which its first ones stand for."""
MOST = 32
"""Documents that one is compared with: those with which it shares the most bands. Two that say nearly the same share
several; what has a template in common with hundreds shares one with each."""


class Candidates:
    """For each document those before it that share a bucket with it.

    In memory are 112 bytes for each document that shares a bucket with another, and 4 for each such share.

    Args:
        ordered: Documents in the order of preference.
        bands: One band of every document's signature; called with its number.
    """

    def __init__(self, ordered: npt.NDArray[np.int64], bands: Callable[[int], Hashes]) -> None:
        members: list[npt.NDArray[np.int32]] = []
        begins: list[npt.NDArray[np.int64]] = []
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
            begins.append(size + np.repeat(starts, np.diff(starts, append=len(found))))
            size += len(found)
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

    def before(self, row: int) -> Sequence[int]:
        """The documents before one that are to be compared with it, all by their places in `ordered`, in that order.

        Args:
            row: Its place in `documents`.
        """
        place = int(self.documents[row])
        found: Counter[int] = Counter()
        for begin in self._begins[row].tolist():
            if begin >= 0:
                heads = self._members[begin : begin + HEADS].tolist()
                found.update(heads[: heads.index(place)] if place in heads else heads)
        if len(found) <= MOST:
            return sorted(found)
        return sorted(sorted(found, key=lambda member: (-found[member], member))[:MOST])
