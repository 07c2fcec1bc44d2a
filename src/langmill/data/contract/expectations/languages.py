"""The expectation on languages, as the step `language` tells them."""

from __future__ import annotations

from langmill.config.sections.contract import Portion
from langmill.config.typed import settings
from langmill.data.contract.base import EXPECTATIONS, Expectation
from langmill.data.contract.evidence import Evidence, shortened
from langmill.data.contract.findings import Finding, not_asked
from langmill.data.contract.limits import at_most, share_of
from langmill.data.document import LANGUAGE_KEY


@settings
class LanguagesOptions:
    """The languages that are expected; `stop` and `warn` are shares of documents in others."""

    allowed: list[str]
    """ISO 639-1, and `und` where no language can be told."""
    stop: Portion | None = None
    """More than this stops."""
    warn: Portion | None = None
    """More than this is told."""


@EXPECTATIONS.register("languages")
class Languages(Expectation):
    """Few documents in other languages."""

    options_class = LanguagesOptions

    def ask(self, evidence: Evidence) -> list[Finding]:
        """Count the documents in languages that are not listed."""
        counts, allowed = evidence.statistics.languages, set(self.options.allowed)
        total = counts.total()
        if not total:
            why = f"no document has the metadata {LANGUAGE_KEY}, which the cleaning step of that name writes"
            return [not_asked("documents in other languages", why)]
        others = {name: count for name, count in counts.items() if name not in allowed}
        named = ", ".join(sorted(others, key=lambda name: (-others[name], name))[:5])
        words = f"{share_of(sum(others.values()), total, 'documents')} are in another language"
        return [
            at_most(
                "documents in other languages",
                f"{words} ({named})" if others else words,
                sum(others.values()) / total,
                self.options,
                lambda: evidence.find(
                    lambda document: document.metadata.get(LANGUAGE_KEY, "") not in {*allowed, ""},
                    lambda document: f"{document.metadata[LANGUAGE_KEY]}: {shortened(document.text)}",
                ),
            )
        ]
