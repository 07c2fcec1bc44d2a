"""The expectations on the length of texts and targets, in characters."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np

from langmill.config.constraints import Allowed
from langmill.config.typed import settings
from langmill.data.contract.base import EXPECTATIONS, Expectation
from langmill.data.contract.effect_size import IntArray
from langmill.data.contract.evidence import Evidence, Statistics
from langmill.data.contract.findings import Finding, Place, not_asked
from langmill.data.contract.limits import Interval, Limits, judge, percent
from langmill.data.document import Document


def _is_share(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False


Quantiles = Annotated[
    dict[str, Interval],
    Allowed(
        'shares from "0" (the shortest) to "1" (the longest), each with [least, most]',
        lambda at: all(map(_is_share, at)),
    ),
]


@settings
class LengthOptions:
    """Intervals [least, most] of quantiles: `"0.5": [200, 900]` is of the median, "0" of the shortest."""

    stop: Quantiles
    """Outside of it nothing is trained."""
    warn: Quantiles
    """Outside of it is told."""


@EXPECTATIONS.register("lengths")
class Lengths(Expectation):
    """Quantiles of the texts' lengths."""

    options_class = LengthOptions
    what: ClassVar[str] = "text"

    def ask(self, evidence: Evidence) -> list[Finding]:
        """Compare each quantile that has limits."""
        values = self.values(evidence.statistics)
        if not values.size:
            return [not_asked(f"lengths of {self.what}s", f"no document has a {self.what}")]
        return [self._quantile(evidence, values, at) for at in dict.fromkeys([*self.options.stop, *self.options.warn])]

    def _quantile(self, evidence: Evidence, values: IntArray, at: str) -> Finding:
        value = int(np.quantile(values, float(at), method="lower"))
        name = {0.0: "shortest", 0.5: "median", 1.0: "longest"}.get(float(at))
        stop, warn = self.options.stop.get(at), self.options.warn.get(at)

        def beyond() -> list[Place]:
            least, most = next(ends for ends in (stop, warn) if ends is not None and not _inside(value, ends))

            def wanted(document: Document) -> bool:
                length = self.length(document)
                return length is not None and not _inside(length, (least, most))

            return evidence.find(wanted)

        words = f"{percent(float(at))} of the {self.what}s have {value:,} characters or less"
        if name is not None:
            words = f"the {name} {self.what} has {value:,} characters"
        return judge(f"length of {self.what}s, {name or f'quantile {at}'}", words, value, Limits(stop, warn), beyond)

    def values(self, statistics: Statistics) -> IntArray:
        """Lengths of all documents, sorted."""
        return statistics.lengths

    def length(self, document: Document) -> int | None:
        """The length of one; None where it has none."""
        return len(document.text)


@EXPECTATIONS.register("target_lengths")
class TargetLengths(Lengths):
    """Quantiles of the targets' lengths."""

    what = "target"

    def values(self, statistics: Statistics) -> IntArray:
        """Lengths of all targets, sorted."""
        return statistics.target_lengths

    def length(self, document: Document) -> int | None:
        """The length of one document's target."""
        return None if document.target is None else len(document.target)


def _inside(value: int, ends: tuple[float | None, float | None]) -> bool:
    least, most = ends
    return (least is None or value >= least) and (most is None or value <= most)
