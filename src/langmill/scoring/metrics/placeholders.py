"""Whether translations of software messages keep their placeholders."""

from __future__ import annotations

from langmill.data.document import Document
from langmill.scoring.metrics.base import METRICS, Mean
from langmill.tasks.placeholders import placeholders_in


@METRICS.register("placeholders")
class Placeholders(Mean):
    """Share of the translations that hold their source's placeholders, each as often, in any order."""

    title = "Placeholders kept"

    def score(self, produced: str, document: Document) -> float | None:
        """1 for a translation that holds them.

        None where there are none, or where the reference does not hold them either: what looks like markup may be words
        to be translated, as in `<no name>`.
        """
        wanted = placeholders_in(document.text)
        if not wanted or placeholders_in(document.target or "") != wanted:
            return None
        return float(placeholders_in(produced) == wanted)
