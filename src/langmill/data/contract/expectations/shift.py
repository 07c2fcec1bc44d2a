"""The expectations that documents look like those of the reference, by effect size (see `effect_size`)."""

from __future__ import annotations

from langmill.data.contract.base import EXPECTATIONS, Expectation
from langmill.data.contract.effect_size import ks_distance_at, variation_from
from langmill.data.contract.evidence import Evidence
from langmill.data.contract.findings import Finding, not_asked
from langmill.data.contract.limits import AtMost, at_most, percent

_NONE = "the contract has no reference to compare with; `langmill profile` writes one"


@EXPECTATIONS.register("label_shift")
class LabelShift(Expectation):
    """Total variation between the labels of now and of the reference; rarer labels than it lists count as one."""

    options_class = AtMost

    def ask(self, evidence: Evidence) -> list[Finding]:
        """Compare the shares of the labels."""
        reference = None if evidence.reference is None else evidence.reference.labels
        return [_shares("labels", evidence.statistics.labels, reference, self.options)]


@EXPECTATIONS.register("language_shift")
class LanguageShift(Expectation):
    """Total variation between the languages of now and of the reference."""

    options_class = AtMost

    def ask(self, evidence: Evidence) -> list[Finding]:
        """Compare the shares of the languages."""
        reference = None if evidence.reference is None else evidence.reference.languages
        return [_shares("languages", evidence.statistics.languages, reference, self.options)]


@EXPECTATIONS.register("length_shift")
class LengthShift(Expectation):
    """Kolmogorov-Smirnov distance between the lengths of now and of the reference, of texts and of targets."""

    options_class = AtMost

    def ask(self, evidence: Evidence) -> list[Finding]:
        """Compare the two distributions at the points that the reference has."""
        reference = evidence.reference
        if reference is None:
            return [not_asked("shift of lengths", _NONE)]
        found = []
        for what, values, points in (
            ("texts", evidence.statistics.lengths, reference.lengths),
            ("targets", evidence.statistics.target_lengths, reference.target_lengths),
        ):
            if points and values.size:
                value = ks_distance_at(values, points)
                words = f"the lengths of {what} differ from the reference for {percent(value)} of the documents"
                found.append(at_most(f"shift of the lengths of {what}", words, value, self.options))
        return found or [not_asked("shift of lengths", _NONE)]


def _shares(what: str, now: dict[str, int], reference: dict[str, float] | None, limits: AtMost) -> Finding:
    subject = f"shift of {what}"
    if not reference:
        return not_asked(subject, _NONE)
    if not now:
        return not_asked(subject, f"the documents have no {what}")
    value = variation_from(reference, now)
    return at_most(subject, f"{percent(value)} of the documents have other {what} than in the reference", value, limits)
