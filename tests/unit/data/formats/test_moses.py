"""Pairs of files: line by line, in whatever encoding and compression each of them is; a shift refuses the corpus."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from langmill.config.sections import FormatSection
from langmill.data.formats.base import build_format
from langmill.data.readers import read_rows
from langmill.data.rows import BadRow, Row
from langmill.data.sources.folder import look_through
from langmill.errors import ConfigError, DataError
from tests.refused import refused
from tests.unit.data.settings import fields, file_format

pytestmark = pytest.mark.unit


def pairs(folder: Path) -> list[Row | BadRow]:
    wanted = fields("source", None, "target", "work")
    return list(read_rows(folder, file_format("moses", source="en", target="de"), wanted))


def test_lines_belong_together_by_number(tmp_path: Path) -> None:
    (tmp_path / "a.en").write_text("big\nno\u2028end\n\nlast", encoding="utf-8")
    (tmp_path / "a.de").write_bytes("größer\r\nkein Ende\r\n\r\nletzte\r\n".encode("cp1252"))
    (tmp_path / "b.EN.gz").write_bytes(gzip.compress(b"one\n"))
    (tmp_path / "b.de").write_text("eins\n")
    assert [(row.where, row.text, row.target, row.metadata) for row in pairs(tmp_path) if isinstance(row, Row)] == [
        ("a.en:1", "big", "größer", {"work": "a"}),
        ("a.en:2", "no\u2028end", "kein Ende", {"work": "a"}),
        ("a.en:3", "", "", {"work": "a"}),
        ("a.en:4", "last", "letzte", {"work": "a"}),
        ("b.EN.gz:1", "one", "eins", {"work": "b"}),
    ]


@pytest.mark.parametrize(("more", "less"), [("en", "de"), ("de", "en")])
def test_a_line_that_is_missing_refuses_the_corpus(tmp_path: Path, more: str, less: str) -> None:
    (tmp_path / f"a.{more}").write_text("x\n" * 5)
    (tmp_path / f"a.{less}").write_text("x\n" * 3)
    with refused(DataError, "mismatch", str(tmp_path / "a.en"), "5 lines", "3"):
        pairs(tmp_path)


def test_a_file_without_its_partner_is_counted(tmp_path: Path) -> None:
    (tmp_path / "a.en").write_text("one\n")
    (tmp_path / "a.de").write_text("eins\n")
    (tmp_path / "b.en").write_text("alone\n")
    (tmp_path / "c.de").write_text("allein\n")
    assert [(row.where, row.num_bytes) for row in pairs(tmp_path) if isinstance(row, BadRow)] == [
        ("b.en:1", 6), ("c.de:1", 7),
    ]  # fmt: skip


def test_both_files_are_fetched_and_the_options_are_checked(tmp_path: Path) -> None:
    for name in ("a.en", "a.de", "a.fr", "b.en.xz"):
        (tmp_path / name).write_text("x")
    reader = build_format(FormatSection("moses", {"source": ".EN", "target": "de"}), "x.yaml")
    found = look_through(tmp_path, reader)
    assert [path.name for path in found.files] == ["a.de", "a.en", "b.en.xz"]
    assert found.left_out == {".fr": 1}
    for wrong in ({"source": "en", "target": "en"}, {"source": "*", "target": "de"}):
        with refused(ConfigError, "impossible", "x.yaml"):
            build_format(FormatSection("moses", wrong), "x.yaml")
