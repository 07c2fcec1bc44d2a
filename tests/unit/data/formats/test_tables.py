"""What separates a table's cells is seen in it or said; no row is joined with another, or lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from langmill.config.sections import FormatSection
from langmill.data.formats.base import build_format
from langmill.data.formats.tables import Dialect, dialect_of, has_header
from langmill.data.readers import read_rows
from langmill.data.rows import Row
from langmill.errors import ConfigError
from tests.refused import refused
from tests.unit.data.folder_rows import bad, read, texts
from tests.unit.data.formats.reading import good
from tests.unit.data.formats.reading import read as read_format
from tests.unit.data.settings import fields, file_format

pytestmark = pytest.mark.unit
SEVERAL = [("good; and well", "1"), ("bad, and ill", "0"), ("so | so", "1")]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
@pytest.mark.parametrize("sign", [",", ";", "\t", "|"])
def test_the_delimiter_is_seen_in_the_rows(tmp_path: Path, name: str, sign: str) -> None:
    lines = [f"text{sign}label", *(f'"{text}"{sign}{label}' for text, label in SEVERAL)]
    (tmp_path / name).write_text("\n".join(lines))
    told: dict[str, str] = {}
    rows = list(read_rows(tmp_path, file_format(), fields("text", "label"), told=told))
    quoted = sign != "\t" or name == "a.csv"
    assert [(row.text.strip("" if quoted else '"'), row.label) for row in rows if isinstance(row, Row)] == SEVERAL
    own = {"a.csv": ",", "a.tsv": "\t"}[name]
    assert ("separated by" in told.get(name, "")) == (sign != own)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_a_first_line_can_say_what_separates_cells(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes("\ufeffsep=;\r\ntext;label\r\n1,5 Sterne, nicht mehr;neg\r\n".encode())
    assert read(tmp_path, fields("text", "label")) == [Row(f"{name}:3", "1,5 Sterne, nicht mehr", "neg", None, {})]


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("text,label\na,1\n", ","),
        ("text\na; b\nc; d\n", ","),
        ("text,n\na; b,1\nc; d; e,2\n", ","),
        ("text;label\na, b;1\nc;2\n", ";"),
        ("Name, first;label\na;1\nb;2\n", ";"),
        ("one line; alone", ","),
        ("", ","),
        ("a|b|c\n1|2|3\n", "|"),
    ],
)
def test_the_ending_holds_unless_most_rows_speak_against_it(text: str, delimiter: str) -> None:
    assert dialect_of(text, ",", quoted=True) == Dialect(delimiter, quoted=True)


def test_a_quotation_mark_in_a_tsv_file_joins_no_rows(tmp_path: Path) -> None:
    """The first of the issue's inputs: two rows and no third."""
    pairs = [f"Number {number}\tNummer {number}" for number in range(60)]
    odd = ['"He said it was late\tEr sagte, es sei spät', 'and he went home."\tund ging nach Hause']
    (tmp_path / "a.tsv").write_text("\n".join(["en\tde", *pairs, *odd]), encoding="utf-8")
    rows = read(tmp_path, fields("en", None, "de"))
    assert len(rows) == 62
    assert [(row.text, row.target) for row in rows[60:] if isinstance(row, Row)] == [
        tuple(line.split("\t")) for line in odd
    ]


def test_a_stray_quotation_mark_in_a_csv_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('name,text\nval1,abc"\nval2,random\n')
    assert list(texts(tmp_path).values()) == ['abc"', "random"]
    assert bad(tmp_path) == []


def test_a_word_for_nothing_is_a_word(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,n\nnull,1\nNA,2\n")
    assert list(texts(tmp_path).values()) == ["null", "NA"]


def test_what_the_options_say() -> None:
    rows = read_format("auto", "1;a, b\n2;c, d\n", "a.csv", delimiter=";", header=False)
    assert good(rows) == [(1, {"column 1": "1", "column 2": "a, b"}), (2, {"column 1": "2", "column 2": "c, d"})]
    tabs = read_format("quoted_tsv", 'text;n\n"a\tb";1\n', "a.tsv", delimiter=";")
    assert good(tabs) == [(2, {"text": "a\tb", "n": "1"})]
    for wrong in ("", ";;", '"', "\n"):
        with refused(ConfigError, "impossible", "x.yaml", "delimiter"):
            build_format(FormatSection("auto", {"delimiter": wrong}), "x.yaml")


@pytest.mark.parametrize(
    ("rows", "header"),
    [
        ([["text", "label"], ["A film that I liked a lot", "1"], ["Bad all along", "0"]], True),
        ([["A film that I liked a lot", "pos"], ["Bad all along", "neg"], ["Good", "pos"]], False),
        ([["1", "A film"], ["2", "Another"]], False),
        ([["text", "text"], ["a", "b"]], True),
        ([["text", "label"]], True),
        ([["text", ""], ["a", "b"]], False),
        ([["x" * 200, "pos"], ["b", "neg"]], False),
    ],
)
def test_whether_a_table_has_a_header(rows: list[list[str]], header: bool) -> None:
    assert has_header(rows) == header
