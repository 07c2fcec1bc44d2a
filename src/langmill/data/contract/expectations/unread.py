"""The expectations that what came in could be read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import NonNegativeInt

from langmill.config.typed import settings
from langmill.data.contract.base import EXPECTATIONS, Expectation
from langmill.data.contract.evidence import Evidence
from langmill.data.contract.findings import Finding, Place, not_asked
from langmill.data.contract.limits import AtMost, Limits, at_most, judge, share_of
from langmill.data.document import QUARANTINE_NAME
from langmill.data.rows import LEFT_OUT, BadRowReason

_DAMAGED = BadRowReason.unreadable_file.value


@settings
class UnreadOptions(AtMost):
    """`stop` and `warn` are shares of the bytes that came in."""

    damaged_files: NonNegativeInt | None = None
    """Files whose end, or all of which, can't be read: more than so many stop; null allows any."""


@EXPECTATIONS.register("unread")
class Unread(Expectation):
    """Few bytes in rows that could not be read, the rest of damaged files included, and no damaged file."""

    options_class = UnreadOptions

    def ask(self, evidence: Evidence) -> list[Finding]:
        """Compare the quarantine's bytes with all, and count the damaged files."""
        found = []
        read = evidence.report.get("bytes")
        if read is None:
            found.append(not_asked("bytes that were not read", "the report counts no bytes; clean the corpus again"))
        else:
            lost, total = unread_bytes(evidence.report)
            words = f"{share_of(lost, total, 'bytes')} could not be read"
            value = lost / total if total else 0.0
            found.append(at_most("bytes that were not read", words, value, self.options, lambda: _bad(evidence)))
        if self.options.damaged_files is not None:
            # A report of an earlier version names no files; each of them has at least one row.
            rows = int(evidence.report.get("quarantined", {}).get(_DAMAGED, 0))
            count = len(evidence.report.get("damaged_files", range(rows)))
            noun = "file ends" if count == 1 else "files end"
            words = (
                f"{count:,} {noun} before all of it could be read" if count else "every file could be read to its end"
            )
            limits = Limits([None, self.options.damaged_files], None)
            found.append(judge("damaged files", words, count, limits, lambda: _bad(evidence, _DAMAGED)))
        return found


@EXPECTATIONS.register("quarantined")
class Quarantined(Expectation):
    """Few rows that could not be read or used."""

    options_class = AtMost

    def ask(self, evidence: Evidence) -> list[Finding]:
        """Compare the quarantine's rows with all."""
        count, total = unusable_rows(evidence.report)
        words = f"{share_of(count, total, 'rows')} are in the quarantine"
        value = count / total if total else 0.0
        return [at_most("quarantined rows", words, value, self.options, lambda: _bad(evidence))]


def unread_bytes(report: Mapping[str, Any]) -> tuple[int, int]:
    """Bytes that could not be read, and all that came in; what was read and then left out is in neither.

    A row without a text was read too: a page of links, a form.
    """
    counted = report["bytes"]
    by_reason = counted.get("quarantined_by_reason", {})
    aside = sum(by_reason.get(reason, 0) for reason in (*LEFT_OUT, BadRowReason.missing_text))
    return int(counted["quarantined"]) - aside, int(counted["read"]) - aside


def unusable_rows(report: Mapping[str, Any]) -> tuple[int, int]:
    """Rows that could not be read or used, and all; what the settings or their own file leave out is in neither."""
    aside = sum(report["quarantined"].get(reason, 0) for reason in LEFT_OUT)
    return sum(report["quarantined"].values()) - aside, int(report["rows"]) - aside


def _bad(evidence: Evidence, reason: str = "") -> list[Place]:
    return evidence.left_out(
        QUARANTINE_NAME, lambda row: row["reason"] == reason if reason else row["reason"] not in LEFT_OUT
    )
