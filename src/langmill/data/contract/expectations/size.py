"""The expectations on how much there is."""

from __future__ import annotations

from langmill.config.typed import settings
from langmill.data.contract.base import EXPECTATIONS, Expectation
from langmill.data.contract.evidence import Evidence
from langmill.data.contract.findings import Finding
from langmill.data.contract.limits import Interval, Limits, judge


@settings
class SizeOptions:
    """Intervals [least, most]; null is no limit."""

    stop: Interval | None = None
    """Outside of it nothing is trained."""
    warn: Interval | None = None
    """Outside of it is told."""


@EXPECTATIONS.register("documents")
class Documents(Expectation):
    """The number of documents in all splits."""

    options_class = SizeOptions

    def ask(self, evidence: Evidence) -> list[Finding]:
        """Count what the report says was kept."""
        count = int(evidence.report["documents"])
        return [
            judge("documents", f"there are {count:,} documents", count, Limits(self.options.stop, self.options.warn))
        ]


@EXPECTATIONS.register("bytes")
class Bytes(Expectation):
    """The UTF-8 bytes of all texts and targets."""

    options_class = SizeOptions

    def ask(self, evidence: Evidence) -> list[Finding]:
        """Count them in the documents."""
        count = evidence.statistics.num_bytes
        words = f"the documents have {count:,} bytes of text"
        return [judge("bytes", words, count, Limits(self.options.stop, self.options.warn))]
