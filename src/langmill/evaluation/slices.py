"""Parts of a test set, divided along metadata fields."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from langmill.data.document import OWN_KEYS, Document
from langmill.errors import ConfigError

PREFIX = "slice_"
"""Before the field's name in a score table's column."""
MOST_VALUES = 20
"""Slices of one field in a report: the ones with the most examples."""


def with_slices(scores: pa.Table, documents: Sequence[Document], fields: Sequence[str]) -> pa.Table:
    """A score table with one more column a metadata field, null where a document lacks it.

    A field that Langmill itself sets (`document.OWN_KEYS`) has no column where it tells no documents apart: none has
    it, or all have the same value, as where no test document has leaked.

    Raises ConfigError where no document has another field.
    """
    for field in fields:
        values = [document.metadata.get(field) for document in documents]
        if field in OWN_KEYS and len(set(values)) < 2:
            continue
        if documents and all(value is None for value in values):
            known = sorted({name for document in documents for name in document.metadata}) or ["none"]
            raise ConfigError(
                f"evaluation.slices names {field!r}, which no test document has; the metadata fields are: "
                f"{', '.join(known)}. Add it to fields.metadata of the corpus, or take it out of evaluation.slices.",
                "unknown",
            )
        scores = scores.append_column(PREFIX + field, pa.array(values, pa.string()))
    return scores


def slices_of(scores: pa.Table) -> Iterator[tuple[str, str, pa.Table]]:
    """Field, value and examples of every slice of a score table, the values in alphabetical order."""
    for column in scores.column_names:
        if column.startswith(PREFIX):
            counts = Counter(value for value in scores[column].to_pylist() if value is not None)
            largest = sorted(counts, key=lambda value: (-counts[value], value))[:MOST_VALUES]
            for value in sorted(largest):
                yield column.removeprefix(PREFIX), value, scores.filter(pc.equal(scores[column], value))
