"""Clusters: what is connected by being alike."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from langmill.config.sections import COPIES


class Clusters:
    """Sets of numbers from 0, each of its own at first; 4 bytes a number.

    Args:
        count: How many numbers there are.
    """

    def __init__(self, count: int) -> None:
        self._parents = np.arange(count, dtype=np.int32 if count < 2**31 else np.int64)

    def join(self, one: int, other: int) -> None:
        """Make the sets of two numbers one."""
        first, second = sorted((self._root(one), self._root(other)))
        self._parents[second] = first

    def _root(self, number: int) -> int:
        parents = self._parents
        while (parent := int(parents[number])) != number:
            parents[number] = parents[parent]
            number = parent
        return number

    def least(self) -> npt.NDArray[np.int64]:
        """The least number of each number's set."""
        parents = self._parents
        while (parents != parents[parents]).any():
            parents = parents[parents]
        self._parents = parents
        return parents.astype(np.int64)


def copies_of(sizes: npt.NDArray[np.int64]) -> list[str]:
    """The class of each size of a cluster, as the metadata field `copies` has it."""
    names = list(COPIES)
    bounds = np.array(list(COPIES.values()))
    return [names[place] for place in np.searchsorted(bounds, sizes, side="right") - 1]
