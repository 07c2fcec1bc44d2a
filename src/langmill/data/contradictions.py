"""Equal texts with different labels: how many there are, and a few of them with all that is said of them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

from langmill.data.spool import Spooled

_EXAMPLES = 5
_PLACES = 5  # of the documents of an example
_CHARACTERS = 200


class Contradictions:
    """Groups of documents that read alike, target included, and have different labels; no label contradicts none.

    Which are shown depends on what they say, not on where they stand.

    Args:
        labels: (documents,) each document's label, as a number.
        groups: (documents,) each document's group, in the order of the groups' keys.
        unlabelled: The number of no label.

    Attributes:
        groups: How many such groups there are.
    """

    def __init__(self, labels: npt.NDArray[np.int32], groups: npt.NDArray[np.int64], unlabelled: int) -> None:
        numbers = np.flatnonzero(labels != unlabelled)
        order = numbers[np.lexsort((labels[numbers], groups[numbers]))]
        same_group = groups[order][1:] == groups[order][:-1]
        found = np.unique(groups[order][1:][same_group & (labels[order][1:] != labels[order][:-1])])
        self.groups = len(found)
        members = np.flatnonzero(np.isin(groups, found[:_EXAMPLES]) & (labels != unlabelled))
        self._group_of = {int(number): int(groups[number]) for number in members}
        self._seen: dict[int, list[Spooled]] = {}

    def see(self, number: int, document: Spooled) -> None:
        """Keep a document that is shown; called for all of them."""
        if (group := self._group_of.get(number)) is not None:
            self._seen.setdefault(group, []).append(document)

    def examples(self) -> list[dict[str, Any]]:
        """A few groups: the `text`, its `labels` (documents by label) and `where` some of the rows stand."""
        return [
            {
                "text": documents[0].text[:_CHARACTERS],
                "labels": dict(sorted(Counter(str(each.label) for each in documents).items())),
                "where": sorted(each.where for each in documents)[:_PLACES],
            }
            for _, documents in sorted(self._seen.items())
        ]
