"""Whether classical Chinese poems keep to their form."""

from __future__ import annotations

import re

from langmill.data.document import Document
from langmill.scoring.metrics.base import METRICS, Mean

FORMS = {"五言绝句": (4, 5), "七言绝句": (4, 7), "五言律诗": (8, 5), "七言律诗": (8, 7)}
"""Lines of a poem, and characters of a line, by the form's name in the metadata field `form`."""
_CLAUSE_END = re.compile("[\n，。？！；、,.?!;]")  # noqa: RUF001 - Chinese punctuation
_PUNCTUATION = re.compile(r"[\s\W]")


@METRICS.register("poem_form")
class PoemForm(Mean):
    """Share of the poems that have the lines and characters that their form fixes."""

    title = "Poems in their form"

    def score(self, produced: str, document: Document) -> float | None:
        """1 for a poem in its form; None for a document of no such form.

        Punctuation does not count. A verse line ends at a new line or at a mark that ends a clause.
        """
        form = FORMS.get(document.metadata.get("form", ""))
        if form is None:
            return None
        lines = [_PUNCTUATION.sub("", line) for line in _CLAUSE_END.split(produced)]
        lengths = [len(line) for line in lines if line]
        return float(lengths == [form[1]] * form[0])
