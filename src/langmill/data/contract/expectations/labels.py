"""The expectations on labels: which there are, and how often each is."""

from __future__ import annotations

from langmill.config.sections.contract import Portion
from langmill.config.typed import settings
from langmill.data.contract.base import EXPECTATIONS, Expectation
from langmill.data.contract.evidence import Evidence, shortened
from langmill.data.contract.findings import Finding, Outcome, not_asked
from langmill.data.contract.limits import Interval, Limits, at_most, judge, share_of


@settings
class LabelSetOptions:
    """The labels that may be there; `stop` and `warn` are shares of documents with another one."""

    labels: list[str]
    """Every label that is expected."""
    complete: bool = True
    """Whether each of them must be there: a label without a document stops."""
    stop: Portion | None = None
    """More than this stops."""
    warn: Portion | None = None
    """More than this is told."""


@EXPECTATIONS.register("label_set")
class LabelSet(Expectation):
    """No label but those listed, and each of those."""

    options_class = LabelSetOptions

    def ask(self, evidence: Evidence) -> list[Finding]:
        """Look at the labels that documents have; one without a label is a matter of `nulls`."""
        counts, listed = evidence.statistics.labels, set(self.options.labels)
        total = counts.total()
        if not total:
            return [not_asked("labels that are not listed", "no document has a label")]
        others = {label: count for label, count in counts.items() if label not in listed}
        named = ", ".join(sorted(others, key=lambda label: (-others[label], label))[:5])
        words = f"{share_of(sum(others.values()), total, 'labelled documents')} have a label that is not listed"
        found = [
            at_most(
                "labels that are not listed",
                f"{words} ({named})" if others else words,
                sum(others.values()) / total,
                self.options,
                lambda: evidence.find(
                    lambda document: document.label is not None and document.label not in listed,
                    lambda document: f"{document.label}: {shortened(document.text)}",
                ),
            )
        ]
        absent = [label for label in self.options.labels if label not in counts]
        if self.options.complete:
            outcome = Outcome.breached if absent else Outcome.passed
            sentence = f"No document has the label {', '.join(absent)}." if absent else "Every listed label is there."
            found.append(Finding("listed labels without documents", outcome, len(absent), "stop: 0", sentence))
        return found


@settings
class LabelBalanceOptions:
    """Shares of the labelled documents [least, most], by label."""

    stop: dict[str, Interval]
    """Outside of it nothing is trained."""
    warn: dict[str, Interval]
    """Outside of it is told."""


@EXPECTATIONS.register("label_balance")
class LabelBalance(Expectation):
    """How often each label is."""

    options_class = LabelBalanceOptions

    def ask(self, evidence: Evidence) -> list[Finding]:
        """Compare the share of each label that has limits."""
        counts = evidence.statistics.labels
        total = counts.total()
        if not total:
            return [not_asked("share of each label", "no document has a label")]
        return [
            judge(
                f"share of the label {label}",
                f"{share_of(counts[label], total, 'labelled documents')} have the label {label}",
                counts[label] / total,
                Limits(self.options.stop.get(label), self.options.warn.get(label)),
            )
            for label in dict.fromkeys([*self.options.stop, *self.options.warn])
        ]
