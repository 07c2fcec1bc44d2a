"""Which documents of a corpus a recipe takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from langmill.data.document import Document


def is_selected(document: Document, only: Mapping[str, Sequence[str]]) -> bool:
    """Whether each metadata field that `only` names has one of the values that it lists; none named takes all."""
    return all(document.metadata.get(field) in values for field, values in only.items())
