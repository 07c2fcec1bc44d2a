"""The expectation that cleaning leaves enough of each source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import NonNegativeInt

from langmill.config.typed import settings
from langmill.data.contract.base import EXPECTATIONS, Expectation
from langmill.data.contract.evidence import Evidence
from langmill.data.contract.findings import Finding, Place, not_asked
from langmill.data.contract.limits import AtLeast, at_least, percent
from langmill.data.document import DROPPED_NAME, QUARANTINE_NAME

_SUBJECT = "rows of a source that were kept"


@settings
class SurvivalOptions(AtLeast):
    """`stop` and `warn` are shares of a source's rows that must be kept."""

    min_rows: NonNegativeInt = 100
    """A source of fewer rows is not judged by itself: of ten, two more or less are chance."""


@EXPECTATIONS.register("survival")
class Survival(Expectation):
    """Every source keeps its share of rows: a rule of cleaning that takes nearly all of one is a fault of the rule.

    A source is what the metadata field `source` says, or the file; see `judged_sources` for small ones.
    """

    options_class = SurvivalOptions

    def ask(self, evidence: Evidence) -> list[Finding]:
        """Compare each source that is large enough, the worst first."""
        sources = evidence.report.get("sources")
        if not sources:
            return [not_asked(_SUBJECT, "the report of this corpus tells no sources apart; clean it again")]
        judged = judged_sources(evidence.report, self.options.min_rows)
        if not judged:
            return [not_asked(_SUBJECT, f"no source has {self.options.min_rows:,} rows")]
        return [self._source(evidence, each) for each in sorted(judged, key=lambda each: each.share)]

    def _source(self, evidence: Evidence, source: Source) -> Finding:
        lost = 1 - source.share
        words = f"source {source.name} lost {percent(lost)} ({source.kept:,} of {source.rows:,} rows are kept)"

        def rows() -> list[Place]:
            def of_file(row: Mapping[str, Any]) -> bool:
                return row["where"].rpartition(":")[0] in source.files

            # A metadata field's value stands in no table of what was left out.
            tables = (DROPPED_NAME, QUARANTINE_NAME) if source.files else ()
            return [place for table in tables for place in evidence.left_out(table, of_file)]

        return at_least(f"kept of source {source.name}", words, source.share, self.options, rows)


@dataclass
class Source:
    """Rows that are judged together."""

    name: str
    rows: int = 0
    kept: int = 0
    files: set[str] = field(default_factory=set)
    """The files that they are of, members of archives among them; none where a field names the source."""

    def add(self, other: Source) -> None:
        """Take rows in."""
        self.rows += other.rows
        self.kept += other.kept
        self.files |= other.files

    @property
    def share(self) -> float:
        """The share that was kept."""
        return self.kept / self.rows if self.rows else 1.0


def judged_sources(report: Mapping[str, Any], min_rows: int) -> list[Source]:
    """The sources of a report that have enough rows; small files by the folder or the archive that they are in.

    Of a thousand letters, a file each, none has rows enough, and all may be lost. So what is too small goes together
    with what else is too small in its folder or archive, and that, where it is still too small, in the next one above.
    """
    read = report.get("files", {})
    sources = [
        Source(name, each["rows"], each["kept"], {name} if name in read else set())
        for name, each in (report.get("sources") or {}).items()
    ]
    judged = [each for each in sources if each.rows >= min_rows]
    waiting: dict[tuple[str, ...], Source] = {}
    for each in sources:
        if each.rows < min_rows and each.files:
            _wait(waiting, tuple(each.name.replace(":", "/").split("/"))[:-1], each)
    for depth in range(max(map(len, waiting), default=-1), -1, -1):
        for path in [path for path in waiting if len(path) == depth]:
            each = waiting.pop(path)
            if each.rows >= min_rows:
                each.name = f"{'/'.join(path) or 'all'} ({len(each.files):,} files)"
                judged.append(each)
            elif path:
                _wait(waiting, path[:-1], each)
    return judged


def _wait(waiting: dict[tuple[str, ...], Source], path: tuple[str, ...], source: Source) -> None:
    waiting.setdefault(path, Source("")).add(source)
