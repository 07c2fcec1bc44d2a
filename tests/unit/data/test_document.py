"""Documents survive their tables, and equal documents give equal bytes."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from langmill.data.document import Document, DocumentWriter, count_documents, read_documents
from langmill.errors import DataError
from tests.documents import write_documents
from tests.refused import refused

pytestmark = pytest.mark.unit
DOCUMENTS = [
    Document("a:1", "Tränen\n\nlügen nicht", "1", "tears", {"b": "ü", "a": ""}),
    Document("a:2", "two"),
    Document("a:3", "three", None, None, {"a": "x"}),
]


def test_there_and_back(tmp_path: Path) -> None:
    write_documents(tmp_path / "a.parquet", DOCUMENTS)
    assert list(read_documents(tmp_path / "a.parquet")) == DOCUMENTS
    assert count_documents(tmp_path / "a.parquet") == 3


def test_no_documents(tmp_path: Path) -> None:
    write_documents(tmp_path / "a.parquet", [])
    assert list(read_documents(tmp_path / "a.parquet")) == []


def test_equal_bytes_and_bounded_row_groups(tmp_path: Path) -> None:
    many = [Document(f"a:{number}", "text " * (number % 9)) for number in range(4001)]
    with DocumentWriter(tmp_path / "a.parquet") as writer:
        for document in many:
            writer.write(document)
    write_documents(tmp_path / "b.parquet", many)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert pq.ParquetFile(tmp_path / "a.parquet").num_row_groups == 3
    assert list(read_documents(tmp_path / "a.parquet")) == many


def test_missing_or_damaged_tables(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"no table")
    for ask in (count_documents, lambda path: list(read_documents(path))):
        with refused(DataError, "missing", "none.parquet", "`dvc repro`"):
            ask(tmp_path / "none.parquet")
        with refused(DataError, "unreadable", "a.parquet", "remove it"):
            ask(tmp_path / "a.parquet")
