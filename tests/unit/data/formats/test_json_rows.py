"""JSON arrays are read as a stream: what stands before a fault is kept, and what follows is counted."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langmill.data.formats import json_rows
from langmill.data.formats.json_rows import json_object, read_json_array
from langmill.data.labels import as_text
from langmill.data.rows import Unreadable
from tests.unit.data.formats.reading import bad, good
from tests.unit.timing import require_linear

pytestmark = pytest.mark.unit
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def array(data: bytes) -> list[Any]:
    return list(read_json_array(io.BytesIO(data)))


@given(
    rows=st.lists(st.dictionaries(st.text(), VALUES, max_size=4), max_size=6),
    indent=st.sampled_from([None, 1]),
    chunk=st.integers(1, 40),
    ascii_only=st.booleans(),
)
def test_an_array_comes_back_as_written_whatever_the_chunks(
    rows: list[dict[str, Any]], indent: int | None, chunk: int, ascii_only: bool
) -> None:
    data = json.dumps(rows, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    if not ascii_only and "\ud7ff" < max(json.dumps(rows, ensure_ascii=False)) < "\ue000":
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_rows, "_CHUNK", chunk)
        found = array(data)
    assert good(found) == list(enumerate(rows, start=1))
    assert bad(found) == []


def test_the_bytes_behind_a_fault_are_counted() -> None:
    rest = b"{'text': 'Python'}, " + b'{"text": "b"}, ' * 100 + b"]"
    found = array(b'[{"text": "a"}, ' + rest)
    assert good(found) == [(1, {"text": "a"})]
    assert bad(found) == [(2, "corrupt")]
    assert isinstance(found[1][1], Unreadable)
    assert found[1][1].num_bytes == len(rest)


def test_an_item_that_is_no_row_costs_itself() -> None:
    found = array(b'[3, {"text": "a", "text": "b"}, {"text": "\xff"}, {"text": "c"}, []]')
    assert good(found) == [(4, {"text": "c"})]
    assert bad(found) == [(1, "not_an_object"), (2, "repeated_name"), (3, "undecodable"), (5, "not_an_object")]
    assert [values.num_bytes for _, values in found if isinstance(values, Unreadable)] == [1, 26, 13, 2]


def test_a_number_of_very_many_digits_costs_nothing() -> None:
    row = b'{"text": "a", "n": ' + b"9" * 5000 + b"}"
    found = good(array(b"[" + row + b', {"text": "b"}]'))
    assert [(place, values["text"]) for place, values in found] == [(1, "a"), (2, "b")]
    assert as_text(found[0][1]["n"]) == "9" * 5000
    assert json_object(row) == found[0][1]


def test_an_item_that_does_not_end_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_rows, "_CHUNK", 16)
    monkeypatch.setattr(json_rows, "_ITEM_CHARACTERS", 64)
    data = b'[{"text": "a"}, {"text": "' + b"x" * 1000 + b'"}]'
    found = array(data)
    assert bad(found) == [(2, "too_large")]
    assert found[1][1].num_bytes == len(data) - len(b'[{"text": "a"}, ')


@pytest.mark.parametrize("make", [
    lambda size: b'[{"text": "' + b"x" * size + b'"}]',
    lambda size: b"[" + b"[" * size,
    lambda size: b'[{"a": "' + b"\\u00e4" * (size // 6) + b'"}]',
    lambda size: b"[" + b"1," * (size // 2) + b"1]",
    lambda size: b" " * size + b"[]",
])  # fmt: skip
def test_linear_time(monkeypatch: pytest.MonkeyPatch, make: Any) -> None:
    monkeypatch.setattr(json_rows, "_CHUNK", 2**12)
    require_linear(lambda text: array(text.encode()), lambda size: make(size).decode())
