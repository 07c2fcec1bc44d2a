"""The expectation that cleaning leaves enough of each source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import NonNegativeInt

from langmill.config.typed import settings
from langmill.data.contract.base import EXPECTATIONS, Expectation
from langmill.data.contract.evidence import QUARANTINE_NAME, Evidence
from langmill.data.contract.findings import Finding, Place, not_asked
from langmill.data.contract.limits import AtLeast, at_least, percent
from langmill.data.dropped import DROPPED_NAME

_SUBJECT = "rows of a source that were kept"


@settings
class SurvivalOptions(AtLeast):
    """`stop` and `warn` are shares of a source's rows that must be kept."""

    min_rows: NonNegativeInt = 100
    """A source of fewer rows is not judged: of ten, two more or less are chance."""


@EXPECTATIONS.register("survival")
class Survival(Expectation):
    """Every source keeps its share of rows: a rule of cleaning that takes nearly all of one is a fault of the rule.

    A source is what the metadata field `source` says, or the file.
    """

    options_class = SurvivalOptions

    def ask(self, evidence: Evidence) -> list[Finding]:
        """Compare each source that is large enough, the worst first."""
        sources = evidence.report.get("sources")
        if not sources:
            return [not_asked(_SUBJECT, "the report of this corpus tells no sources apart; clean it again")]
        judged = {name: each for name, each in sources.items() if each["rows"] >= self.options.min_rows}
        if not judged:
            return [not_asked(_SUBJECT, f"no source has {self.options.min_rows:,} rows")]
        return [
            self._source(evidence, name, judged[name]) for name in sorted(judged, key=lambda name: _kept(judged[name]))
        ]

    def _source(self, evidence: Evidence, name: str, counts: dict[str, Any]) -> Finding:
        lost = 1 - _kept(counts)
        words = f"source {name} lost {percent(lost)} ({counts['kept']:,} of {counts['rows']:,} rows are kept)"
        reads = evidence.report.get("files", {})

        def rows() -> list[Place]:
            if name not in reads:  # a metadata field's value, which stands in no table of what was left out
                return []

            def of_file(row: Mapping[str, Any]) -> bool:
                return bool(row["where"].rpartition(":")[0] == name)

            return [place for table in (DROPPED_NAME, QUARANTINE_NAME) for place in evidence.left_out(table, of_file)]

        return at_least(f"kept of source {name}", words, _kept(counts), self.options, rows)


def _kept(counts: dict[str, Any]) -> float:
    return float(counts["kept"] / counts["rows"]) if counts["rows"] else 1.0
