from __future__ import annotations

import pyarrow as pa
import pytest

from langmill.data.document import Document
from langmill.errors import ConfigError
from langmill.evaluation.slices import MOST_VALUES, slices_of, with_slices
from tests.refused import refused

pytestmark = pytest.mark.unit


def test_slices_share_out_the_documents_that_have_the_field():
    sources = ["web", "book", None, "web"]
    documents = [
        Document(f"d{number}", "x", metadata={} if source is None else {"source": source, "id": "clash"})
        for number, source in enumerate(sources)
    ]
    scores = with_slices(pa.table({"id": ["d0", "d1", "d2", "d3"]}), documents, ["source", "id"])
    found = {(field, value): part["id"].to_pylist() for field, value, part in slices_of(scores)}
    assert found == {("source", "book"): ["d1"], ("source", "web"): ["d0", "d3"], ("id", "clash"): ["d0", "d1", "d3"]}


@pytest.mark.parametrize(
    ("values", "slices"),
    [
        ((None, None), {}),
        (("no", "no"), {}),
        (("yes", "no"), {"yes": ["a"], "no": ["b"]}),
        (("yes", None), {"yes": ["a"]}),
    ],
)
def test_what_langmill_itself_sets_is_a_slice_where_it_tells_documents_apart(values, slices):
    documents = [
        Document(name, "x", metadata={} if value is None else {"leaked": value})
        for name, value in zip("ab", values, strict=True)
    ]
    scores = with_slices(pa.table({"id": ["a", "b"]}), documents, ["leaked"])
    assert {value: part["id"].to_pylist() for _, value, part in slices_of(scores)} == slices


def test_only_the_largest_slices_are_shown():
    values = [f"v{number:02}" for number in range(30)] + ["v29"]
    scores = pa.table({"id": values, "slice_x": values})
    shown = [value for _, value, _ in slices_of(scores)]
    assert len(shown) == MOST_VALUES and shown == sorted(shown) and "v29" in shown


def test_an_unknown_field_is_refused_with_the_known_ones():
    with refused(ConfigError, "unknown", "evaluation.slices", "'genre'", "source"):
        with_slices(pa.table({"id": ["a"]}), [Document("a", "x", metadata={"source": "web"})], ["genre"])
