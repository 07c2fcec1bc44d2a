"""The expectations on near duplicates and on test documents that stand in the training split."""

from __future__ import annotations

from langmill.data.contract.base import EXPECTATIONS, Expectation
from langmill.data.contract.evidence import Evidence
from langmill.data.contract.findings import Finding, Place, not_asked
from langmill.data.contract.limits import AtMost, at_most, percent, share_of
from langmill.data.document import DROPPED_NAME


@EXPECTATIONS.register("near_duplicates")
class NearDuplicates(Expectation):
    """Few rows that are left out since another document reads nearly the same."""

    options_class = AtMost

    def ask(self, evidence: Evidence) -> list[Finding]:
        """Compare the near duplicates that were dropped with all rows."""
        found = evidence.report.get("near_duplicates")
        if not found:
            return [not_asked("near duplicates", "near duplicates are not looked for in this corpus")]
        count, total = int(found["dropped"]), int(evidence.report["rows"])
        words = f"{share_of(count, total, 'rows')} are near duplicates of others"
        value = count / total if total else 0.0

        def rows() -> list[Place]:
            return evidence.left_out(DROPPED_NAME, lambda row: row["reason"] == "near_duplicate")

        return [at_most("near duplicates", words, value, self.options, rows)]


@EXPECTATIONS.register("leakage")
class Leakage(Expectation):
    """Few test documents that stand, at least in part, in the training split."""

    options_class = AtMost

    def ask(self, evidence: Evidence) -> list[Finding]:
        """Compare the share that the report found."""
        found = evidence.report.get("leakage")
        if not found:
            return [not_asked("leaked test documents", "leakage is not looked for in this corpus")]
        share, total = float(found["share"]), int(found["test_documents"])
        words = f"{share_of(int(found['leaked']), total, 'test documents')} stand in the training split"

        def rows() -> list[Place]:
            return [
                Place("", str(each["test"]), f"{percent(float(each['overlap']))} of it in {each['train']}")
                for each in found.get("examples", [])
            ]

        return [at_most("leaked test documents", words, share, self.options, rows)]
